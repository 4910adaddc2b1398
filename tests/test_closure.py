"""Every stored spectrum renders back, whatever was answered; checked against scipy's solvers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from pipeline.camera import library, load_camera, resampled
from pipeline.closure import CLOSED, FAR, Closure
from pipeline.cube import quantise
from pipeline.layout import PEAK, SCALE

WAVELENGTHS = tuple(float(nm) for nm in range(400, 701, 10))
CAMERAS = ("srgb", "basler-a2a5320-23uc", "nikon-5100-npl")
SEEDS = st.integers(0, 2**32)


def sensitivities(name):
    return resampled(load_camera(name), WAVELENGTHS).sensitivities


def spectra(random, count):
    """Spectra within the stored range: smooth to spiky, dim to bright, dense to one line."""
    base = random.random((31, count)) ** random.integers(1, 12, count)
    base *= random.random((31, count)) < random.random(count)
    return (base * PEAK ** random.random(count)).astype(np.float32)


def answers(random, truth):
    """What a network may answer for them: near, and anything but."""
    near = truth + random.normal(0, 0.1, truth.shape)
    kinds = (near, random.normal(0, 1, truth.shape), random.normal(0, 1000, truth.shape),
             np.zeros_like(truth), np.full_like(truth, 7), np.full_like(truth, -3e30))  # fmt: skip
    which = random.integers(len(kinds), size=truth.shape[1])
    return np.choose(which, kinds).astype(np.float32)


def closed(closure, start, rgb):
    values = start.copy()
    closure.close(values, rgb, np.ones(rgb.shape[1], bool))
    return values


@settings(max_examples=9)
@given(st.sampled_from(CAMERAS), SEEDS)
def test_what_is_stored_renders_back_whatever_was_answered(name, seed):
    random, s = np.random.default_rng(seed), sensitivities(name)
    truth = spectra(random, 300)
    rgb = (s @ truth).astype(np.float32)
    values = closed(Closure(s), answers(random, truth), rgb)
    stored = quantise(values[:, None], np.ones((1, 300), bool), np.dtype(np.uint16))[:, 0]
    off = np.abs(s.astype(float) @ (stored * SCALE) - rgb).max(axis=0)
    assert off.max() < 2e-4


@pytest.mark.parametrize("name", library())
def test_rounding_leaves_every_camera_within_the_limit(name):
    rounding = np.abs(sensitivities(name)).sum(axis=1).max() * SCALE / 2
    assert float(CLOSED) + rounding + 1e-5 < 2e-4


@settings(max_examples=5)
@given(SEEDS)
def test_it_is_the_nearest_for_answers_a_little_off(seed):
    random, s = np.random.default_rng(seed), sensitivities("srgb")
    truth = 0.1 + 0.5 * random.random((31, 20)).astype(np.float32)
    start = (truth + random.normal(0, 0.1, truth.shape)).astype(np.float32)
    values = closed(Closure(s), start, s @ truth)
    for pixel in range(20):
        # Nearest under s x = rgb, as a least-squares problem in which the colour weighs much.
        stacked = np.vstack([1e3 * s, np.eye(31)])
        wanted = np.concatenate([1e3 * s @ truth[:, pixel], start[:, pixel]])
        nearest = lsq_linear(stacked, wanted, (0, PEAK), tol=1e-12).x
        assert np.abs(nearest - values[:, pixel]).max() < 1e-3


@settings(max_examples=5)
@given(st.sampled_from(CAMERAS[:2]), SEEDS)
def test_colours_that_no_spectrum_has_are_known_and_approached(name, seed):
    random, s = np.random.default_rng(seed), sensitivities(name)
    rgb = random.normal(0, 0.3, (3, 30)).astype(np.float32)
    exact = s.astype(float), rgb.T.astype(float)
    best = np.array([lsq_linear(exact[0], c, (0, PEAK), method="bvls").x for c in exact[1]]).T
    least = np.linalg.norm(s @ best - rgb, axis=0)
    closure = Closure(s)
    outside = closure.outside(rgb)
    assert (outside == (least > 1e-5))[np.abs(least - 1e-5) > 2e-5].all()
    near = (best + random.normal(0, 0.1, best.shape)).astype(np.float32)
    values = closed(closure, near, rgb)
    off = np.linalg.norm(s @ values - rgb, axis=0)
    assert (off[outside] - least[outside]).max() < 0.005
    assert (off[~outside] < FAR).all()


@settings(max_examples=5)
@given(SEEDS, st.integers(1, 9))
def test_no_pixel_depends_on_its_neighbours(seed, count):
    random, s = np.random.default_rng(seed), sensitivities("srgb")
    truth = spectra(random, count)
    start, rgb = answers(random, truth), (s @ truth).astype(np.float32)
    together, closure = closed(Closure(s), start, rgb), Closure(s)
    for pixel in range(count):
        one = slice(pixel, pixel + 1)
        assert (closed(closure, start[:, one], rgb[:, one]) == together[:, one]).all()


def test_what_is_consistent_or_not_asked_for_or_not_finite_stays():
    random, s = np.random.default_rng(0), sensitivities("srgb")
    truth = spectra(random, 10)
    rgb = (s @ truth).astype(np.float32)
    start = truth.copy()
    start[:, 5:] += 1
    start[3, 9] = np.inf
    values, asked = start.copy(), np.ones(10, bool)
    asked[7] = False
    Closure(s).close(values, rgb, asked)
    changed = (values != start).any(axis=0)
    assert changed.tolist() == [False] * 5 + [True, True, False, True, False]
