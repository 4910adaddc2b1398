import re
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model import R2HDiff, Reconstructor
from model.diffusion import sample
from model.engine import Engine, moments
from model.lift import apply_matrix
from tests.model_fixtures import (
    OPENVINO,
    WAVELENGTHS,
    awake,
    camera,
    small_model,
    start_noise,
    tile,
)


def bound(model: R2HDiff, scale: float = 1.0, steps: int = 5) -> Reconstructor:
    return Reconstructor(model, camera()[0], scale, steps, noises=1)


def plain(model: R2HDiff, rgb: Tensor, noise: Tensor) -> Tensor:
    """Five steps, with everything that the steps share made anew at each."""

    def denoise(state: Tensor, step: int) -> Tensor:
        steps = torch.full((len(rgb),), step)
        return model.denoise(state, model.condition(rgb, camera()), steps)

    return model.to_cube(sample(denoise, noise, model.schedule, 5), model.condition(rgb, camera()))


@given(st.integers(0, 2**31), st.integers(0, 2**31), st.integers(1, 5))
def test_the_cube_renders_back_to_the_rgb_under_any_weights(
    weights: int, which: int, steps: int
) -> None:
    model, s = awake(small_model(weights), weights), camera(which)
    cube = Reconstructor(model, s[0], steps=steps, noises=1)(
        tile(seed=which), start_noise(seed=which)
    )
    torch.testing.assert_close(apply_matrix(s, cube), tile(seed=which), atol=1e-5, rtol=0)


@given(st.integers(0, 1000), st.integers(1, 3), st.sampled_from([8, 16]))
def test_cached_guidance_equals_guidance_made_anew_at_each_step(
    seed: int, count: int, side: int
) -> None:
    model = awake(small_model(seed), seed)
    rgb, noise = tile(count, side, seed=seed), start_noise(count, side, seed)
    with torch.inference_mode():
        expected = plain(model, rgb, noise)
    assert torch.equal(bound(model)(rgb, noise), expected)


@pytest.mark.parametrize("k", [0.5, 3.7])
@pytest.mark.parametrize("target", ["residual", "cube"])
def test_the_cube_follows_the_exposure(k: float, target: str) -> None:
    model, rgb, noise = awake(small_model(target=target)), tile(), start_noise()
    expected = k * bound(model, 0.8)(rgb, noise)
    torch.testing.assert_close(bound(model, 0.8 * k)(k * rgb, noise), expected)


def test_batch_mates_do_not_change_a_sample() -> None:
    model, rgb, noise = awake(small_model()), tile(3), start_noise(3)
    others_rgb, others_noise = tile(3, seed=5), start_noise(3, seed=5)
    others_rgb[1], others_noise[1] = rgb[1], noise[1]
    alone = bound(model)(rgb, noise)[1]
    assert torch.equal(bound(model)(others_rgb, others_noise)[1], alone)


def test_the_papers_target_is_the_state_itself() -> None:
    model, rgb, noise = awake(small_model(target="cube")), tile(), start_noise()
    cube = bound(model)(rgb, noise)
    assert cube.shape == noise.shape
    assert torch.isfinite(cube).all()
    assert not torch.allclose(apply_matrix(camera(), cube), rgb, atol=1e-2)
    condition = model.condition(rgb, camera())
    torch.testing.assert_close(model.to_state(cube, condition), cube / model.deviation)


@pytest.mark.parametrize("target", ["residual", "cube"])
def test_a_cube_that_renders_to_the_rgb_survives_its_state(target: str) -> None:
    model, cube = awake(small_model(target=target)), tile(channels=7)
    condition = model.condition(apply_matrix(camera(), cube), camera())
    again = model.to_cube(model.to_state(cube, condition), condition)
    torch.testing.assert_close(again, cube, atol=1e-5, rtol=0)


def test_the_same_noise_gives_the_same_cube_and_other_noise_another() -> None:
    model, rgb = awake(small_model()), tile()
    first, again = (bound(model)(rgb, start_noise()) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(bound(model)(rgb, start_noise(seed=1)), first)


def test_it_says_its_wavelengths_and_how_much_noise_it_takes() -> None:
    reconstruct = bound(small_model())
    assert reconstruct.wavelengths == tuple(WAVELENGTHS.tolist())
    assert reconstruct.noises == 1
    assert Reconstructor(small_model(), camera()[0]).noises == 0


@pytest.mark.parametrize("engine", ["torch", "torch-bfloat16", "onnxruntime", OPENVINO])
def test_a_start_from_zero_is_that_of_noise_that_is_zero(engine: Engine) -> None:
    model, rgb = awake(small_model()), tile()
    zero = Reconstructor(model, camera()[0], engine=engine)
    noisy = Reconstructor(model, camera()[0], engine=engine, noises=1)
    expected = noisy(rgb, torch.zeros_like(start_noise()))
    assert torch.equal(zero(rgb), expected)
    assert torch.equal(zero(rgb, start_noise()), expected)
    assert torch.equal(zero(rgb, start_noise()[:, :0]), expected)


@settings(max_examples=6)  # each builds two graphs
@given(st.integers(2, 5), st.sampled_from(["torch", "onnxruntime"]), st.integers(0, 1000))
def test_samples_give_the_mean_and_the_deviation_of_as_many_passes(
    count: int, engine: Engine, seed: int
) -> None:
    model, s, rgb = awake(small_model(seed), seed), camera(seed)[0], tile(seed=seed)
    fields = [start_noise(seed=seed + k) for k in range(count)]
    one = Reconstructor(model, s, 0.7, engine=engine, noises=1)
    passes = torch.stack([one(rgb, field) for field in fields])
    many = Reconstructor(model, s, 0.7, engine=engine, noises=count)
    mean, deviation = many(rgb, torch.cat(fields, dim=1)).chunk(2, dim=1)
    assert (one.spread, many.spread, many.noises) == (False, True, count)
    torch.testing.assert_close(mean, passes.mean(dim=0), rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(deviation, passes.std(dim=0), rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_sensitivities_may_be_an_array_of_any_floats(engine: Engine) -> None:
    model, s, rgb = awake(small_model()), camera()[0], tile()
    expected = Reconstructor(model, s, 0.7, engine=engine)(rgb)
    for dtype in (np.float32, np.float64):
        given_ = s.numpy().astype(dtype)
        assert torch.equal(Reconstructor(model, given_, 0.7, engine=engine)(rgb), expected)


def test_the_readmes_lines_run_at_any_exposure() -> None:
    page = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    (lines,) = (part for part in re.findall(r"```python\n(.*?)```", page, re.DOTALL)
                if "Reconstructor" in part)  # fmt: skip
    seen: list[dict[str, Any]] = [{"rgb": k * tile()} for k in (1, 1 / 8)]
    for names in seen:
        exec(lines, names)
    full, dark = (names["cube"] for names in seen)
    assert full.shape == (len(tile()), 31, *tile().shape[2:])
    torch.testing.assert_close(8 * dark, full)
    rendered = apply_matrix(torch.from_numpy(seen[0]["camera"].sensitivities), full)
    torch.testing.assert_close(rendered, tile(), atol=1e-4, rtol=0)


def test_samples_without_noise_are_refused() -> None:
    with pytest.raises(ValueError, match="2 fields of noise"):
        Reconstructor(small_model(), camera()[0], noises=2)(tile())


def test_moments_hold_two_samples_however_many_there_are() -> None:
    held: list[weakref.ref[Tensor]] = []

    def samples() -> Iterator[Tensor]:
        for seed in range(20):
            held.append(weakref.ref(value := tile(seed=seed)))
            assert sum(of() is not None for of in held) <= 2
            yield value
            del value

    assert moments(samples()).shape == (2, 6, 8, 8)


@pytest.mark.parametrize("steps", [0, 6])
def test_a_wrong_number_of_steps_is_refused_before_any_tile(steps: int) -> None:
    with pytest.raises(ValueError, match="steps must be"):
        bound(small_model(), steps=steps)
