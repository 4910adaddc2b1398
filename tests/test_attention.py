"""A scene's attention: decided once, the same for all its tiles."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import model
from model import Reconstructor, View
from model.attention import hatas, pooled, weighed
from model.blocks import Hata
from model.engine import FEW, Engine, bind, watch
from model.folded import build_features
from tests.model_fixtures import (
    OPENVINO,
    camera,
    random,
    small_model,
)

SEEDS = st.integers(0, 2**31)
ENGINES = ["torch", "onnxruntime"]
STEPS = 3


SHIPPED = model.load().eval()
"""Of random weights too little is known: a last bit may become a tenth."""
CAMERA = camera(bands=31)[0]


def mates(seed: int, size: int = 32) -> tuple[Tensor, Tensor]:
    """RGB and start noise of a tile."""
    drawn = random(seed)
    rgb = torch.rand(1, 3, size, size, generator=drawn)
    return rgb, torch.randn(1, 31, size, size, generator=drawn)


def views(count: int, first: int = 0) -> list[View]:
    return [View(mates(first + n)[0][0], None, 1.0) for n in range(count)]


@given(SEEDS, st.sampled_from([(4, 1), (8, 2), (12, 4)]), st.sampled_from([(8, 8), (16, 24)]))
def test_an_attention_by_products_is_that_of_the_pixels(
    seed: int, shape: tuple[int, int], size: tuple[int, int]
) -> None:
    torch.manual_seed(seed)
    hata, x = Hata(*shape), torch.randn(1, shape[0], *size)
    with torch.inference_mode():
        given_ = hata.attention(hata.products(x))
        torch.testing.assert_close(hata(x, given_), hata(x), rtol=1e-4, atol=1e-6)
        assert given_.sum(dim=-1) == pytest.approx(1, abs=1e-5)


@given(SEEDS)
def test_products_of_parts_add_up_to_those_of_the_whole(seed: int) -> None:
    torch.manual_seed(seed)
    hata, x = Hata(8, 2), torch.randn(3, 8, 16, 16)
    with torch.inference_mode():
        parts = [hata.products(one[None]) for one in x]
        torch.testing.assert_close(sum(parts), hata.products(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_the_graph_watches_what_torch_does(steps: int) -> None:
    """Under the tile's own attention, then under one that is given."""
    attention = None
    with torch.inference_mode():
        for seed in range(2):
            one, other = (
                watch(SHIPPED, CAMERA, steps, e)(*mates(seed), attention) for e in ENGINES
            )
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * float(one.abs().max()))
            attention = pooled(SHIPPED, steps, one)


@pytest.mark.parametrize("engine", [*ENGINES, "torch-bfloat16", OPENVINO])
def test_a_scene_of_one_window_attends_as_that_tile_does(engine: Engine) -> None:
    rgb, _ = mates(0, 64)
    own = Reconstructor(SHIPPED, CAMERA, 0.7, engine="torch")(rgb)
    bound = Reconstructor(SHIPPED, CAMERA, 0.7, engine=engine)
    answer = bound.attending([View(rgb[0], None, 1.0)])(rgb)
    off, near = (answer - own).abs().max(), 0.02 if "bfloat16" in engine else 1e-5
    assert off < near


@pytest.mark.parametrize("engine", ENGINES)
def test_a_pixel_does_not_depend_on_how_the_scene_is_cut(engine: Engine) -> None:
    """But for the borders of tiles, which a convolution feels."""
    smooth = torch.nn.functional.interpolate(
        torch.rand(1, 3, 12, 12, generator=random(3)), (192, 192), mode="bicubic"
    ).clamp(0, 1)
    plain = Reconstructor(SHIPPED, CAMERA, engine=engine)
    scene = plain.attending([View(smooth[0], None, 1.0)])
    part = smooth[..., 32:160, 32:160].contiguous()
    inner, of = (..., slice(40, 88), slice(40, 88)), (..., slice(72, 120), slice(72, 120))
    off, alone = ((one(part)[inner] - one(smooth)[of]).abs().max() for one in (scene, plain))
    assert off < 2e-3
    assert alone > 5 * off


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_and_batch_mates_change_no_bit(engine: Engine) -> None:
    bound = Reconstructor(SHIPPED, CAMERA, engine=engine)
    rgb = torch.cat([mates(9)[0], mates(10)[0]])
    one, other = (bound.attending(views(5), threads)(rgb) for threads in (1, 3))
    assert torch.equal(one, other)
    elsewhere = bound.attending(views(5))(torch.cat([mates(9)[0], mates(11)[0]]))
    assert torch.equal(one[0], elsewhere[0])
    assert not torch.equal(one[1], elsewhere[1])


def test_some_windows_come_first_then_all_by_what_follows_of_them() -> None:
    seen, rgb, zero = views(19), mates(99)[0], torch.zeros(1, 31, 32, 32)
    look, attention = watch(SHIPPED, CAMERA, STEPS, "torch"), None
    with torch.inference_mode():
        for few in (seen[::3], seen):
            found = [look(view.rgb[None], zero, attention) for view in few]
            attention = pooled(SHIPPED, STEPS, weighed(few, found))
        expected = bind(SHIPPED, CAMERA, STEPS, "torch", attention)(rgb)(zero)
    assert len(seen[::3]) <= FEW
    scene = Reconstructor(SHIPPED, CAMERA, steps=STEPS).attending(seen)
    assert torch.equal(scene(rgb), expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_scenes_do_not_change_each_other(engine: Engine) -> None:
    bound, rgb = Reconstructor(SHIPPED, CAMERA, engine=engine), mates(9)[0]
    before = bound(rgb)
    first, second = bound.attending(views(2)), bound.attending(views(2, first=50))
    assert not torch.allclose(first(rgb), second(rgb), atol=1e-4)
    assert torch.equal(first(rgb), bound.attending(views(2))(rgb))
    assert torch.equal(bound(rgb), before)


def test_a_window_that_is_there_twice_counts_as_once() -> None:
    bound, rgb = Reconstructor(SHIPPED, CAMERA), mates(9)[0]
    one, two = (bound.attending(seen)(rgb) for seen in (views(1), 2 * views(1)))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_a_window_counts_as_much_as_is_known_of_it() -> None:
    products = torch.rand(2, 40, generator=random(0))
    whole, part = (View(mates(0)[0][0], None, share) for share in (1.0, 0.25))
    expected = products[0] + 0.25 * products[1]
    torch.testing.assert_close(weighed([whole, part], list(products)), expected)


@pytest.mark.parametrize("factor", [0.25, 0.7, 3.0])
def test_it_follows_the_exposure(factor: float) -> None:
    rgb, _ = mates(9)
    bound = Reconstructor(SHIPPED, CAMERA, 0.5)
    brighter = [View(factor * view.rgb, None, view.share) for view in views(2)]
    answer = bound.at(0.5 * factor).attending(brighter)(factor * rgb)
    torch.testing.assert_close(
        answer / factor, bound.attending(views(2))(rgb), rtol=1e-3, atol=1e-4
    )


def test_the_scale_may_change_after() -> None:
    """What is attended to stays: the same as by the other's scale where nothing else differs."""
    bound, rgb = Reconstructor(SHIPPED, CAMERA, 0.5), mates(9)[0]
    seen = bound.attending(views(2))
    torch.testing.assert_close(seen.at(1.0)(2 * rgb), 2 * seen(rgb), rtol=1e-4, atol=1e-5)


def test_samples_attend_to_what_they_start_from() -> None:
    bound = Reconstructor(SHIPPED, CAMERA, noises=1)
    rgb, noise = mates(9)
    plain = View(rgb[0], None, 1.0)
    from_noise = bound.attending([plain._replace(noise=noise[0])])(rgb, noise)
    torch.testing.assert_close(from_noise, bound(rgb, noise), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(from_noise, bound.attending([plain])(rgb, noise), atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_may_be_ended_between_windows(engine: Engine) -> None:
    """A run that is told to stop does not wait for all of them."""
    looked = []

    def go_on() -> None:
        if len(looked) == 2:
            raise InterruptedError
        looked.append(1)

    with pytest.raises(InterruptedError):
        Reconstructor(SHIPPED, CAMERA, engine=engine).attending(views(8), 1, go_on)
    assert len(looked) == 2


def test_without_windows_or_attention_nothing_changes() -> None:
    bound = Reconstructor(SHIPPED, CAMERA)
    assert bound.attending([]) is bound
    bound = Reconstructor(small_model(hata=False), camera()[0])
    assert bound.attending(views(1)) is bound


def test_the_network_is_left_as_it_was() -> None:
    """Also by threads that attend at once: hooks of one must not be seen by the other."""
    rgb, _ = mates(9)
    bound = Reconstructor(SHIPPED, CAMERA, engine="torch")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: bound.attending(views(2, first=n % 2))(rgb), range(6)))
    for n, answer in enumerate(answers):
        assert torch.equal(answer, bound.attending(views(2, first=n % 2))(rgb))
    assert not any(hata._forward_pre_hooks for hata in hatas(SHIPPED))


def test_the_graph_of_a_scene_has_no_queries_and_keys() -> None:
    attention = pooled(SHIPPED, 3, watch(SHIPPED, CAMERA, 3, "torch")(*mates(0), None))
    alone, scene = (
        build_features(SHIPPED, CAMERA, 3, (1, 32, 32), of)[0] for of in (None, attention)
    )
    assert alone.count(b"Softmax") == 3 * len(hatas(SHIPPED))
    assert b"Softmax" not in scene
