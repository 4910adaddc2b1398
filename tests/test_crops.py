from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import pytest

from pipeline.camera import load_camera
from pipeline.crops import Crops, OnDemand, spectral_prior
from pipeline.errors import Refusal
from pipeline.exposure import scale_of

SIDE = 20
EVERYTHING = {"mix": 0.5, "metamers": 0.5, "noise": 0.5, "resident": 1, "visit": 2}
MATERIALS = 4 * np.random.default_rng(0).random((9, 31), np.float32) + np.float32(0.1)
CAMERAS = ["srgb", "nikon-d700", "basler-a2a5320-23uc"]


def crops(**changes: object) -> Crops:
    random = np.random.default_rng(1)
    cubes = [random.random((31, SIDE, width), np.float32) ** 2 for width in (SIDE, 30)]
    cameras = [load_camera(name) for name in CAMERAS]
    plain = Crops(cubes, cameras, [0.5, 0.3, 0.2], 8, 16, 0.3, 5, repaint=0, materials=MATERIALS)
    return replace(plain, **changes)


def test_an_iteration_depends_on_the_seed_and_its_number_alone() -> None:
    first, second = crops(**EVERYTHING), crops(**EVERYTHING)
    _ = [first.at(i) for i in (9, 2)]
    for one, other in zip(first.at(4), second.at(4), strict=True):
        np.testing.assert_array_equal(one, other)
    cube = first.at(4)[1]
    assert not np.array_equal(cube, first.at(5)[1])
    assert not np.array_equal(cube, crops(**EVERYTHING, seed=6).at(4)[1])


@pytest.mark.parametrize("first", [0, 3])
def test_a_stream_is_the_iterations_in_order(first: int) -> None:
    crop = crops()
    for iteration, got in enumerate(islice(crop.stream(first), 3), first):
        for one, other in zip(got, crop.at(iteration), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_crop_renders_to_its_rgb() -> None:
    crop = crops()
    rgb, cube, sensitivities = crop.at(0)
    assert (rgb.shape, cube.shape, sensitivities.shape) == (
        (16, 3, 8, 8),
        (16, 31, 8, 8),
        (16, 3, 31),
    )
    expected = np.maximum(np.einsum("ncw,nwyx->ncyx", sensitivities, cube), 0)
    np.testing.assert_allclose(rgb, expected, atol=1e-5)
    assert {array.dtype for array in (rgb, cube, sensitivities)} == {np.dtype(np.float32)}


def test_what_is_mixed_into_a_crop_is_of_its_domain() -> None:
    spectra = np.random.default_rng(0).random((4, 31), np.float32)
    cubes = [one[:, None, None] * np.ones((1, SIDE, SIDE), np.float32) for one in spectra]
    cube = crops(cubes=cubes, beside=2, beside_share=0.5, mix=1.0, batch=200).at(0)[1][:, :, 0, 0]
    for spectrum in cube:
        # Of two of one domain, but never of one of each.
        left = [np.linalg.lstsq(spectra[at : at + 2].T, spectrum, rcond=None)[1] for at in (0, 2)]
        assert min(float(np.sum(each)) for each in left) < 1e-6


def test_a_crop_is_a_part_of_a_scene_turned_and_scaled() -> None:
    cubes = [np.tile(np.arange(1, 401, dtype=np.float32).reshape(1, SIDE, SIDE), (31, 1, 1))]
    crop = crops(cubes=cubes, exposure=0.0)
    _, cubes, cameras = crop.at(0)
    scale = {
        camera.sensitivities.tobytes(): crop.seen(0, which).scale
        for which, camera in enumerate(crop.cameras)
    }
    for part, camera in zip(cubes, cameras, strict=True):
        whole = part[0] * scale[camera.tobytes()]
        steps = [np.sort(np.abs(np.diff(whole, axis=axis)).ravel()) for axis in (0, 1)]
        np.testing.assert_allclose(sorted(s.mean() for s in steps), [1, 20], rtol=1e-4)
        assert all(np.ptp(s) < 0.01 for s in steps)


def test_scales_are_those_of_the_thinned_scenes() -> None:
    crop = crops()
    rgb = np.maximum(crop.cameras[2].render(crop.cubes[1][:, ::8, ::8]), 0)
    assert crop.seen(1, 2).scale == pytest.approx(scale_of(rgb))


def test_exposure_spreads_the_scale() -> None:
    flat = [np.ones((31, SIDE, SIDE), np.float32)]
    crop = crops(cubes=flat, exposure=0.3, batch=200)
    seen = np.log(crop.at(0)[1][:, 0, 0, 0] * 4)
    assert -0.3 <= seen.min() < -0.25
    assert 0.25 < seen.max() <= 0.3


def test_a_dimmed_crop_is_up_to_eight_times_darker() -> None:
    flat = [np.ones((31, SIDE, SIDE), np.float32)]
    crop = crops(cubes=flat, exposure=0.0, dimmed=0.5, batch=400)
    rgb, cube, cameras = crop.at(0)
    seen = np.log2(4 * cube[:, 0, 0, 0])
    assert -3 <= seen.min() < -2.9
    assert 0.4 < (seen > -1e-5).mean() < 0.6
    assert -1.65 < seen[seen < -1e-5].mean() < -1.35
    np.testing.assert_allclose(np.einsum("ncb,nbhw->nchw", cameras, cube), rgb, atol=1e-5)


def test_a_crop_larger_than_a_scene_is_refused() -> None:
    assert crops(crop=SIDE).at(0)[0].shape == (16, 3, SIDE, SIDE)
    with pytest.raises(Refusal, match=f"at most {SIDE}"):
        crops(crop=SIDE + 1).at(0)


def test_the_prior_is_symmetric_positive_definite() -> None:
    prior = spectral_prior(crops())
    assert (prior.shape, prior.dtype) == ((31, 31), np.float64)
    np.testing.assert_array_equal(prior, prior.T)
    assert np.linalg.eigvalsh(prior).min() > 0


def test_the_prior_does_not_depend_on_a_scenes_exposure() -> None:
    crop = crops()
    darker = [crop.cubes[0] * np.float32(0.125), crop.cubes[1]]
    np.testing.assert_allclose(spectral_prior(crops(cubes=darker)), spectral_prior(crop), rtol=1e-5)


@pytest.mark.parametrize(
    "switch", ["flips", "rotations", "exposure", "dimmed", "mix", "metamers", "noise"]
)
def test_each_augmentation_can_be_switched_off(switch: str) -> None:
    rows = np.linspace(0.1, 1, SIDE, dtype=np.float32)
    ramp = np.tile(rows[:, None] + 2 * rows, (31, 1, 1))
    flat = np.full_like(ramp, 1)
    off: dict[str, object] = {
        "cubes": [ramp, flat], "flips": False, "rotations": False, "exposure": 0.0,
        "cameras": [load_camera("srgb")], "shares": [1.0], "batch": 24,
    }  # fmt: skip
    on = {"flips": True, "rotations": True, "exposure": 0.3, "mix": 1.0, "noise": 1.0}
    on |= {"metamers": 1.0, "dimmed": 1.0}
    plain, changed = crops(**off), crops(**{**off, switch: on[switch]})

    def rising(crop: Crops) -> bool:
        steps = [np.diff(crop.at(0)[1][:, 0], axis=axis) for axis in (1, 2)]
        return all((step >= 0).all() for step in steps)

    assert rising(plain)
    if switch != "metamers":  # what a pixel may become depends on how bright it is
        assert rising(changed) == (switch not in ("flips", "rotations"))
    rgb, cube, _ = (array[:1] for array in changed.at(0))
    if switch in ("exposure", "dimmed", "mix", "metamers", "noise"):
        # What comes before it in the first sample is the same.
        seen, was = (array[:1] for array in plain.at(0)[:2])
        assert np.allclose(seen, rgb, atol=1e-5) == (switch == "metamers")
        assert np.array_equal(was, cube) == (switch == "noise")


def test_a_noisy_crop_has_its_cubes_level() -> None:
    rgb, _, _ = crops(noise=1.0, batch=64).at(0)
    clean, _, _ = crops(batch=64).at(0)
    assert rgb.mean() == pytest.approx(clean.mean(), rel=0.1)


def test_unknown_pixels_are_in_no_crop() -> None:
    cubes = [np.ones((31, 40, 40), np.float32)]
    cubes[0][:, :10] = np.nan
    crop = crops(cubes=cubes, batch=64)
    assert not np.isnan(crop.at(0)[1]).any()
    assert np.isfinite(spectral_prior(crop)).all()
    cubes[0][:, ::4] = np.nan
    with pytest.raises(Refusal, match="masked"):
        crops(cubes=cubes).at(0)


def test_few_scenes_are_in_memory_at_a_time() -> None:
    reads = []

    def read(number: int) -> np.ndarray:
        reads.append(number)
        return np.full((31, SIDE, SIDE), 0.1 + number, np.float32)

    lazy = OnDemand([partial(read, number) for number in range(6)], keep=2)
    crop = crops(cubes=lazy, resident=2, visit=4)
    used = [crop.scenes(iteration) for iteration in range(40)]
    assert all(len(scenes) == 2 for scenes in used)
    assert all(used[i] == used[i - i % 4] for i in range(40))
    assert {scene for scenes in used for scene in scenes} == set(range(6))
    _ = [crop.at(i) for i in range(4)]
    assert len(reads) == 2
    with pytest.raises(IndexError):
        lazy[6]
