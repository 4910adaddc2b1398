"""Every stored spectrum renders back, whatever was answered; checked against scipy's solvers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from pipeline.camera import library, load_camera, resampled
from pipeline.closure import FAR, Closure
from pipeline.cube import quantise
from pipeline.layout import PEAK, SCALE
from pipeline.nearest import CLOSED, Sight, quick

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


@settings(max_examples=9)
@given(st.sampled_from(CAMERAS), SEEDS)
def test_what_is_stored_renders_back_whatever_was_answered(name, seed):
    random, s = np.random.default_rng(seed), sensitivities(name)
    truth = spectra(random, 300)
    rgb = (s @ truth).astype(np.float32)
    values = Closure(s).closed(answers(random, truth), rgb)
    stored = quantise(values[:, None], np.ones((1, 300), bool), np.dtype(np.uint16))[:, 0]
    off = np.abs(s.astype(float) @ (stored * SCALE) - rgb).max(axis=0)
    assert off.max() < 2e-4


@pytest.mark.parametrize("name", library())
def test_colours_at_the_border_close_too(name):
    """Of one wavelength alone, of all as bright as can be but for one end: the dual is far away."""
    random, s = np.random.default_rng(0), sensitivities(name)
    lines = np.zeros((31, 93), np.float32)
    lines[np.arange(93) % 31, np.arange(93)] = np.repeat([0.05, 1, PEAK], 31)
    steps = PEAK * np.float32(np.arange(31)[:, None] >= np.arange(31))
    truth = np.concatenate([lines, steps, PEAK - lines / 100, 0 * steps], axis=1)
    rgb = (s @ truth).astype(np.float32)
    near = np.abs(truth + random.normal(0, 0.05, truth.shape)).astype(np.float32)
    asked = np.ones((1, rgb.shape[1]), bool)
    for start in (near, answers(random, truth)):
        values = Closure(s).closed(start, rgb)
        stored = quantise(values[:, None], asked, np.dtype(np.uint16))[:, 0]
        assert np.abs(s.astype(float) @ (stored * SCALE) - rgb).max() < 2e-4


@pytest.mark.parametrize("name", library())
def test_black_has_no_light_whatever_was_answered(name):
    random, s = np.random.default_rng(0), sensitivities(name)
    values = answers(random, spectra(random, 100))
    assert not Closure(s).closed(values, np.zeros((3, 100), np.float32)).any()


def test_black_may_have_light_that_no_band_sees():
    """Or that two bands see and another takes off again: only what cannot be is not stored."""
    random, s = np.random.default_rng(0), sensitivities(CAMERAS[1])
    blind, takes = s.copy(), s.copy()
    blind[:, 30] = 0
    takes[:, 30] = 0.001, 0.001, -0.003
    values = np.abs(answers(random, spectra(random, 100))).clip(0.1, 1)
    for rows in (blind, takes):
        closed = Closure(rows).closed(values, np.zeros((3, 100), np.float32))
        assert np.abs(rows.astype(float) @ closed).max() < 1e-4
        assert closed[30].any()


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
    values = Closure(s).closed(start, s @ truth)
    for pixel in range(20):
        # Nearest under s x = rgb, as a least-squares problem in which the colour weighs much.
        stacked = np.vstack([1e3 * s, np.eye(31)])
        wanted = np.concatenate([1e3 * s @ truth[:, pixel], start[:, pixel]])
        nearest = lsq_linear(stacked, wanted, (0, PEAK), tol=1e-12).x
        assert np.abs(nearest - values[:, pixel]).max() < 1e-3


@pytest.mark.parametrize("name", ["srgb", "nikon-d700"])
def test_it_is_the_nearest_where_quick_steps_do_not_find_it(name):
    """Of dark colours and answers far off some few in ten thousand."""
    random, s = np.random.default_rng(0), sensitivities(name)
    truth = (random.random((31, 20000)) ** 6 / 2).astype(np.float32)
    start, rgb = random.random(truth.shape).astype(np.float32), s @ truth
    hard = ~quick(Sight.of(s), start, rgb)[1]
    assert hard.any()
    start, rgb = start[:, hard], rgb[:, hard]
    values = Closure(s).closed(start, rgb)
    for pixel in range(hard.sum()):
        stacked = np.vstack([1e5 * s, np.eye(31)])
        wanted = np.concatenate([1e5 * rgb[:, pixel], start[:, pixel]])
        nearest = lsq_linear(stacked, wanted, (0, PEAK), tol=1e-12).x
        assert np.abs(nearest - values[:, pixel]).max() < 1e-5


def beside(random, s, count):
    """Colours all around what there is, and right beside its most saturated ones."""
    lines = np.zeros((31, count))
    lines[random.integers(31, size=count), np.arange(count)] = PEAK * random.random(count)
    saturated = s @ lines + random.normal(0, 0.01, (3, count))
    around = random.normal(0, 0.3, (3, count))
    return np.where(random.random(count) < 0.5, around, saturated).astype(np.float32)


@settings(max_examples=9)
@given(st.sampled_from(CAMERAS), SEEDS)
def test_of_colours_that_no_spectrum_has_the_nearest_is_stored(name, seed):
    random, s = np.random.default_rng(seed), sensitivities(name)
    rgb = beside(random, s, 30)
    exact = s.astype(float), rgb.T.astype(float)
    best = np.array([lsq_linear(exact[0], c, (0, PEAK), method="bvls").x for c in exact[1]]).T
    least = np.linalg.norm(s @ best - rgb, axis=0)
    closure = Closure(s)
    outside = closure.outside(rgb)
    assert (outside == (least > 1e-5))[np.abs(least - 1e-5) > 2e-5].all()
    values = closure.closed(answers(random, best), rgb)
    off = np.linalg.norm(s.astype(float) @ values - rgb, axis=0)
    # The root of what a colour's square is worth, times the farthest that an answer may be.
    assert (off[outside] - least[outside]).max(initial=0) < 1.2e-4
    assert (off[~outside] < FAR).all()


def test_a_colour_that_is_outside_by_less_than_is_promised_is_within_it():
    s = sensitivities("nikon-d700")
    line = np.zeros(31, np.float32)
    line[15] = 3
    rgb = (s @ line + np.array([-1.5e-4, 0, 0], np.float32))[:, None]
    closure = Closure(s)
    assert closure.outside(rgb).all()
    for start in (np.full((31, 1), 0.3, np.float32), line[:, None] + np.float32(0.1)):
        values = closure.closed(start, rgb)
        stored = quantise(values[:, None], np.ones((1, 1), bool), np.dtype(np.uint16))[:, 0]
        assert np.abs(s.astype(float) @ (stored * SCALE) - rgb).max() < 2e-4


@settings(max_examples=9)
@given(st.sampled_from(CAMERAS), SEEDS, st.integers(1, 9))
def test_no_pixel_depends_on_its_neighbours(name, seed, count):
    random, s = np.random.default_rng(seed), sensitivities(name)
    truth = spectra(random, count)
    start, rgb = answers(random, truth), (s @ truth).astype(np.float32)
    rgb = np.where(random.random(count) < 0.5, rgb, beside(random, s, count))
    together, closure = Closure(s).closed(start, rgb), Closure(s)
    for pixel in range(count):
        one = slice(pixel, pixel + 1)
        assert (closure.closed(start[:, one], rgb[:, one]) == together[:, one]).all()


def test_what_is_consistent_or_not_asked_for_stays():
    random, s = np.random.default_rng(0), sensitivities("srgb")
    truth = spectra(random, 10).reshape(31, 2, 5)
    rgb = np.tensordot(s, truth, 1)
    start = truth.copy()
    start[:, 1] += 1
    values, asked = start.copy(), np.ones((2, 5), bool)
    asked[1, 2], start[3, 1, 2] = False, np.nan
    stored, off = Closure(s).settle(values, rgb, asked, np.dtype(np.uint16))
    assert (values == start)[:, asked].all()
    changed = (stored != quantise(start, asked, stored.dtype)).any(axis=0)
    assert changed.tolist() == [[False] * 5, [True, True, False, True, True]]
    assert (off[asked] < 2e-4).all()


@given(st.sampled_from([np.uint16, np.float32]), SEEDS)
def test_how_far_it_is_off_is_of_what_is_stored(kind, seed):
    random, s = np.random.default_rng(seed), sensitivities("srgb")
    truth = spectra(random, 12).reshape(31, 3, 4)
    rgb = (np.tensordot(s, truth, 1) + random.normal(0, 0.01, (3, 3, 4))).astype(np.float32)
    stored = quantise(truth, np.ones((3, 4), bool), np.dtype(kind))
    wanted = np.tensordot(s.astype(float), stored * (SCALE if kind == np.uint16 else 1.0), 1) - rgb
    assert np.abs(Closure(s).off(stored, rgb) - np.abs(wanted).max(axis=0)).max() < 1e-6


@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_what_is_settled_closes_in_either_type(kind):
    random, s = np.random.default_rng(3), sensitivities(CAMERAS[0])
    truth = spectra(random, 300)
    rgb = (s @ truth).astype(np.float32)[:, None]
    values, asked = answers(random, truth)[:, None], np.ones((1, 300), bool)
    stored, off = Closure(s).settle(values, rgb, asked, np.dtype(kind))
    scale = SCALE if kind == "uint16" else 1
    far = np.abs(np.tensordot(s.astype(float), stored * scale, 1) - rgb).max(axis=0)
    np.testing.assert_allclose(off, far, atol=1e-6)
    assert far.max() < 2e-4
    # Measured alone it stays as it was answered.
    left, away = Closure(s, moves=False).settle(values, rgb, asked, np.dtype(kind))
    np.testing.assert_array_equal(left, quantise(values, asked, np.dtype(kind)))
    assert away.max() > 1e-2
