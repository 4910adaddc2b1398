"""Sigma: its fit, what it follows, and that it travels with the answer through either engine."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import model as r2h
from model import Calibrated, Reconstructor, Uncertainty
from model.checkpoint import describe
from model.engine import Engine
from model.shipped import SHIPPED, CheckpointError
from model.uncertainty import (
    LEVELS,
    OWN,
    SHARED,
    PowerLaw,
    beside,
    features,
    newton,
)
from tests.model_fixtures import (
    BANDS,
    WAVELENGTHS,
    awake,
    camera,
    random,
    small_model,
    start_noise,
    tile,
)


def law(more: int = 0, seed: int = 0) -> PowerLaw:
    weights = 0.2 * torch.randn(BANDS, SHARED + OWN + more, generator=random(seed))
    return PowerLaw(weights, torch.tensor([0.6, 1.3, 1.8]))


def laws(seed: int = 0) -> Uncertainty:
    return Uncertainty(law(0, seed), law(1, seed + 1), tuple(WAVELENGTHS.tolist()), "of a network")


def known(count: int = 20_000, more: int = 0) -> Tensor:
    """Features of random pixels (n, bands, F)."""
    rgb, cube = tile(1, 1, 3 * count), tile(1, 1, BANDS * count, seed=1)
    spread = tile(1, 1, BANDS * count, seed=2).reshape(1, BANDS, 1, count) if more else None
    made = features(rgb.reshape(1, 3, 1, count), cube.reshape(1, BANDS, 1, count), spread)
    return made[0].flatten(2).permute(2, 0, 1)


@given(st.integers(0, 1000), st.sampled_from([0, 1]))
def test_sigma_is_the_power_law_of_its_features(seed: int, more: int) -> None:
    rgb, cube, of = tile(seed=seed), tile(channels=BANDS, seed=seed + 1), law(more, seed)
    spread = tile(channels=BANDS, seed=seed + 2) if more else None
    plain = torch.einsum("nbfhw,bf->nbhw", features(rgb, cube, spread), of.weights).exp()
    torch.testing.assert_close(of.sigma(rgb, cube, spread), plain, rtol=1e-4, atol=1e-6)


def test_the_fit_finds_the_law_that_errors_were_drawn_from() -> None:
    true, these = law(seed=3).weights.double(), known().double()
    true[:, 0] -= 3
    scale = torch.einsum("nbf,bf->nb", these, true).exp()
    drawn = torch.distributions.Laplace(0.0, 1.0)
    torch.manual_seed(0)
    errors = scale * drawn.sample(scale.shape).abs()
    found = torch.einsum("nbf,bf->nb", these, newton(these, errors)).exp()
    assert (found / scale).log().abs().mean() < 0.03


def test_intervals_hold_their_share_of_the_errors_they_were_fitted_on() -> None:
    these = known()
    torch.manual_seed(1)
    # Neither normal nor Laplace, and of another size at each wavelength.
    errors = these[:, :, 1].exp() * torch.rand(len(these), BANDS) ** 3 * torch.arange(1, BANDS + 1)
    fit = PowerLaw.fit(these, errors)
    sigma = fit.of(these)
    inside = (errors <= sigma).float().mean(dim=0)
    torch.testing.assert_close(inside, torch.full((BANDS,), 0.6827), atol=2e-3, rtol=0)
    for level, factor in zip(LEVELS, fit.factors, strict=True):
        assert abs((errors <= factor * sigma).float().mean() - level) < 2e-3


def test_the_fit_survives_pixels_without_error() -> None:
    these = known(2000)
    fit = PowerLaw.fit(these, torch.zeros(2000, BANDS))
    assert fit.weights.isfinite().all()


@settings(max_examples=25)
@given(st.floats(0.1, 10), st.booleans())
def test_sigma_follows_the_exposure(k: float, several: bool) -> None:
    net, rgb = awake(small_model()), tile()
    noise = torch.cat([start_noise(), start_noise(seed=1)], dim=1) if several else None
    one, other = (
        Calibrated(Reconstructor(net, camera()[0], scale, noises=2 * several), laws())
        for scale in (0.8, 0.8 * k)
    )
    torch.testing.assert_close(other(k * rgb, noise), k * one(rgb, noise), rtol=1e-3, atol=1e-5)


@settings(max_examples=12)  # each makes two graphs
@given(st.integers(0, 1000), st.sampled_from([0, 2]))
def test_the_cube_is_that_of_the_model_alone_and_both_engines_agree(seed: int, count: int) -> None:
    net, s, rgb = awake(small_model(seed), seed), camera(seed)[0], tile(seed=seed)
    noise = torch.cat([start_noise(seed=seed + k) for k in range(2)], dim=1)
    answers = []
    engines: tuple[Engine, ...] = ("torch", "onnxruntime")
    for engine in engines:
        alone = Reconstructor(net, s, 0.7, engine=engine, noises=count)
        both = Calibrated(alone, laws(seed))
        answers.append(both(rgb, noise))
        assert (both.spread, both.noises) == (True, count)
        assert torch.equal(answers[-1][:, :BANDS], alone(rgb, noise)[:, :BANDS])
        assert (answers[-1][:, BANDS:] > 0).all()
    torch.testing.assert_close(*answers, rtol=5e-3, atol=1e-4)


@pytest.mark.parametrize("light", [0.0, 1e-6, 1e6])
def test_any_light_has_a_sigma(light: float) -> None:
    sigma = Calibrated(Reconstructor(awake(small_model()), camera()[0]), laws())(light * tile())
    assert sigma.isfinite().all()


def test_the_numbers_survive_their_file(tmp_path: Path) -> None:
    path, before = tmp_path / "x.uncertainty.safetensors", laws()
    assert before.save(path, {"how": "by hand"}) == before.digest
    after = Uncertainty.load(path)
    assert after.digest == before.digest
    assert (after.network, after.wavelengths) == (before.network, before.wavelengths)
    assert torch.equal(after.samples.weights, before.samples.weights)


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(CheckpointError, match="kind r2h-diff"):
        Uncertainty.load(SHIPPED)


def test_other_wavelengths_are_refused() -> None:
    other = Uncertainty(law(), law(1), tuple(range(BANDS)), "")
    with pytest.raises(ValueError, match="Calibrate it"):
        Calibrated(Reconstructor(small_model(), camera()[0]), other)


def test_the_shipped_numbers_are_of_the_shipped_weights() -> None:
    shipped = Uncertainty.load(beside(SHIPPED))
    assert shipped.network == describe()["digest"]
    reconstruct = Calibrated(Reconstructor(r2h.load(), camera(bands=31)[0]), shipped)
    rgb = torch.full((1, 3, 16, 16), 0.2)
    cube, sigma = reconstruct(rgb).chunk(2, dim=1)
    assert cube.shape == sigma.shape == (1, 31, 16, 16)
    assert ((sigma > 1e-4) & (sigma < 1)).all()
    # An interval that holds more is wider.
    widths = list(reconstruct.factors.values())
    assert widths == sorted(widths)
