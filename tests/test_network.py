from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from model import NetworkConfig, R2HDiff
from model.blocks import HEAD_LIMIT, Gsrm, Hata, bounded
from model.lift import apply_matrix, wiener_lift
from model.network import Block
from tests.model_fixtures import (
    WAVELENGTHS,
    awake,
    camera,
    prior,
    random,
    small_model,
    start_noise,
    tile,
)


def full_model(**changes: Any) -> R2HDiff:
    config = NetworkConfig(**changes)
    wavelengths = torch.linspace(400, 700, config.bands)
    return R2HDiff(config, wavelengths, prior(config.bands))


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def kinds(model: nn.Module) -> set[str]:
    return {type(module).__name__ for module in model.modules()}


def answer(model: R2HDiff, side: int = 8) -> Tensor:
    with torch.no_grad():
        return model(tile(side=side), camera(), start_noise(side=side), 2)


def test_the_default_network_has_the_papers_parameters() -> None:
    assert parameters(full_model()) == pytest.approx(0.58e6, rel=0.02)


def test_all_five_steps_fit_the_papers_multiply_adds() -> None:
    rgb, noise = torch.rand(1, 3, 256, 256), torch.randn(1, 31, 256, 256)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        full_model()(rgb, camera(bands=31), noise, 5)
    assert 8 < counter.get_total_flops() / 2e9 <= 12.5


def test_guidance_is_counted_once_whatever_the_steps() -> None:
    model, flops = small_model(), []
    for steps in (1, 2, 3):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(tile(), camera(), start_noise(), steps)
        flops.append(counter.get_total_flops())
    one_step = flops[1] - flops[0]
    assert flops[2] - flops[1] == one_step
    assert flops[0] > one_step


@pytest.mark.parametrize(
    "switch", [{"hata": False}, {"gsrm": False}, {"normalise": True}, {"target": "cube"}]
)
def test_every_switch_runs_and_changes_the_answer(switch: dict[str, Any]) -> None:
    plain, switched = answer(awake(small_model())), answer(awake(small_model(**switch)))
    assert switched.shape == plain.shape
    assert torch.isfinite(switched).all()
    assert not torch.allclose(switched, plain)


def test_without_hata_there_is_no_attention() -> None:
    assert "Hata" in kinds(small_model())
    assert "Hata" not in kinds(small_model(hata=False))


def test_no_layer_normalises_unless_asked_to() -> None:
    assert not [kind for kind in kinds(full_model()) if "Norm" in kind]
    blocks = [m for m in small_model(normalise=True).modules() if isinstance(m, Block)]
    assert sum(isinstance(m, nn.LayerNorm) for b in blocks for m in b.modules()) == 2 * len(blocks)


@pytest.mark.parametrize("refine", [True, False])
def test_the_guide_is_only_added_without_refinement(refine: bool) -> None:
    torch.manual_seed(0)
    part, guide, time = Gsrm(4, 8, refine), tile(channels=4), torch.rand(2, 8)
    x, y = tile(channels=4, seed=1), tile(channels=4, seed=2)
    with torch.no_grad():
        same = torch.allclose(part(x, guide, time) - x, part(y, guide, time) - y, atol=1e-6)
    assert same is not refine


def test_the_papers_target_is_guided_by_rgb_alone() -> None:
    assert small_model(target="cube").guide.stem.in_channels == 3
    assert small_model().guide.stem.in_channels == 3 + len(WAVELENGTHS)


@pytest.mark.parametrize("steps", [1, 5])
def test_a_fresh_residual_model_answers_the_wiener_lift(steps: int) -> None:
    model, rgb = small_model(), tile()
    expected = apply_matrix(wiener_lift(camera(), model.prior), rgb)
    with torch.no_grad():
        assert torch.equal(model(rgb, camera(), start_noise(), steps), expected)


def test_attention_does_not_depend_on_the_size_of_q_and_k() -> None:
    torch.manual_seed(0)
    hata, x = Hata(8, 2), tile(channels=8)
    with torch.no_grad():
        before = hata(x)
        hata.point.weight[:16] *= 7
        torch.testing.assert_close(hata(x), before)


@pytest.mark.parametrize("size", [(8, 8), (8, 24), (40, 16)])
def test_sizes_of_whole_eights_run(size: tuple[int, int]) -> None:
    model = awake(small_model(widths=(4, 4, 4, 8), heads=(1, 1, 2, 2)))
    with torch.no_grad():
        cube = model(torch.rand(1, 3, *size), camera(), torch.randn(1, 7, *size), 1)
    assert cube.shape == (1, 7, *size)


@pytest.mark.parametrize("shape", [(1, 3, 12, 16), (1, 3, 16, 4), (1, 4, 8, 8), (3, 8, 8)])
def test_other_sizes_are_refused(shape: tuple[int, ...]) -> None:
    model = small_model(widths=(4, 4, 4, 8), heads=(1, 1, 2, 2))
    with pytest.raises(ValueError, match="multiples of 8"):
        model(torch.rand(shape), camera(), torch.randn(1, 7, 8, 8), 1)


@pytest.mark.parametrize(
    "wrong", [{"heads": (1, 3)}, {"heads": (1,)}, {"heads": (1, 0)}, {"target": "spectrum"}]
)
def test_a_network_that_cannot_run_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="got"):
        small_model(**wrong)


@pytest.mark.parametrize("scale", [1.0, 10.0, 1e4, 1e30])
@pytest.mark.parametrize("limit", [2.0, 50.0])
def test_bounded_keeps_the_small_and_bounds_the_rest(scale: float, limit: float) -> None:
    x = torch.randn(1000, generator=random(0)) * scale
    y = bounded(x, limit)
    assert y.abs().max() <= limit
    small = x.abs() < limit / 10
    torch.testing.assert_close(y[small], x[small], rtol=4e-3, atol=0)
    assert (y * x >= 0).all()


@pytest.mark.parametrize("scale", [10.0, 1e6])
def test_features_between_are_bounded_where_it_is_asked_for(scale: float) -> None:
    plain, model = (awake(small_model(bounded=on)) for on in (False, True))
    most: list[float] = []
    for module in model.modules():
        if isinstance(module, Block):
            module.register_forward_hook(lambda *of: most.append(float(of[2].abs().max())))
    rgb = tile() * scale
    with torch.no_grad():
        features = model.condition(rgb, camera()).features
        model(rgb, camera(), start_noise(), 2)
    assert all(level.abs().max() <= HEAD_LIMIT for level in features)
    assert most
    assert max(most) <= HEAD_LIMIT
    torch.testing.assert_close(answer(model), answer(plain), rtol=0, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 10.0, 1e4, 1e6])
@pytest.mark.parametrize("seed", range(3))
def test_any_light_gives_an_answer_of_bounded_size(scale: float, seed: int) -> None:
    model, rgb = awake(small_model(seed), seed), tile(seed=seed) * scale
    condition = model.condition(rgb, camera())
    with torch.no_grad():
        answer = model.denoiser(start_noise() * scale, condition.features, torch.zeros(2, 8))
        cube = model(rgb, camera(), start_noise() * scale, 5)
    head = model.denoiser.head
    most = HEAD_LIMIT * head.weight.abs().sum(dim=(1, 2, 3)) + head.bias.abs()
    assert (answer.abs().amax(dim=(0, 2, 3)) <= most * 1.0001).all()
    hidden = torch.eye(7) - condition.inverse @ camera()
    far = model.deviation * (hidden.abs() @ most).max()
    # The lift's own digits are lost where the light is bright.
    assert (cube - condition.lift).abs().max() <= far * 1.0001 + 1e-5 * condition.lift.abs().max()


def test_the_answer_stays_linear_in_the_light_where_the_light_is_too_bright() -> None:
    model = awake(small_model())
    with torch.no_grad():
        bright = model(tile() * 1e6, camera(), start_noise(), 5)
    lift = apply_matrix(wiener_lift(camera(), model.prior), tile() * 1e6)
    torch.testing.assert_close(bright, lift, rtol=0, atol=1e-3 * float(lift.abs().max()))
