from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from pipeline.camera import load_camera
from pipeline.datasets import (
    CAVE_WAVELENGTHS,
    Crops,
    ReferenceScene,
    cave_cube,
    cave_scenes,
    spectral_prior,
)
from pipeline.errors import Refusal
from pipeline.exposure import scale_of
from pipeline.grid import Window
from tests.toys import write_scene

SIDE = 20
CAMERAS = ["srgb", "nikon-d700", "basler-a2a5320-23uc"]


def values(dtype: str) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.integers(0, np.iinfo(dtype).max, (31, SIDE, SIDE + 4), dtype, endpoint=True)


def crops(**changes: object) -> Crops:
    random = np.random.default_rng(1)
    cubes = [random.random((31, SIDE, width), np.float32) ** 2 for width in (SIDE, 30)]
    cameras = [load_camera(name) for name in CAMERAS]
    plain = Crops(cubes, cameras, [0.5, 0.3, 0.2], 8, 16, 0.3, 5, repaint=0, materials=cubes[0][:0])
    return replace(plain, **changes)


@pytest.fixture
def cave(tmp_path: Path) -> Path:
    """A root as the database unpacks: a folder in each folder, with a photograph and litter."""
    folder = write_scene(tmp_path / "beads_ms" / "beads_ms", "beads", values("uint16"))
    imsave(folder / "beads_RGB.png", np.zeros((4, 4, 3), np.uint8), check_contrast=False)
    (folder / "Thumbs.db").write_bytes(b"litter")
    (tmp_path / "readme.txt").write_text("litter")
    return tmp_path


def test_a_scene_is_value_by_65535(cave: Path) -> None:
    cube = cave_cube(cave_scenes(cave)["beads"])
    assert (cube.dtype, len(cube)) == (np.float32, len(CAVE_WAVELENGTHS))
    np.testing.assert_allclose(cube, values("uint16") / 65535, rtol=1e-6)


def test_a_scene_of_8_bit_rgba_is_value_by_255(cave: Path) -> None:
    planes = values("uint8")
    rgba = np.stack([planes, planes, planes, np.full_like(planes, 255)], axis=-1)
    write_scene(cave / "watercolors_ms" / "watercolors_ms", "watercolors", rgba)
    assert list(cave_scenes(cave)) == ["beads", "watercolors"]
    cube = cave_cube(cave_scenes(cave)["watercolors"])
    np.testing.assert_allclose(cube, planes / 255, rtol=1e-6)


def test_a_flat_layout_is_found_too(tmp_path: Path) -> None:
    folder = write_scene(tmp_path / "cd_ms", "cd", values("uint16"))
    assert cave_scenes(tmp_path) == {"cd": folder}


def test_a_root_without_scenes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="_ms"):
        cave_scenes(tmp_path)


def test_a_missing_png_is_refused(cave: Path) -> None:
    folder = cave_scenes(cave)["beads"]
    (folder / "beads_ms_17.png").unlink()
    with pytest.raises(Refusal, match="30 in"):
        cave_cube(folder)


@pytest.mark.parametrize("kept", [40, 300])
def test_a_broken_png_is_refused_by_name(cave: Path, kept: int) -> None:
    path = cave_scenes(cave)["beads"] / "beads_ms_17.png"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Refusal, match=r"readable.*beads_ms_17"):
        cave_cube(path.parent)


def test_a_reference_scene_is_rendered_window_by_window() -> None:
    cube, camera = crops().cubes[1], load_camera("srgb")
    scene = ReferenceScene("toy", cube, camera)
    assert (scene.height, scene.width, scene.declared_white) == (SIDE, 30, 1)
    rgb, valid = scene.read(Window(3, 5, 7, 9))
    expected = np.maximum(camera.render(cube), 0)[:, 3:10, 5:14]
    np.testing.assert_allclose(rgb, expected, atol=1e-6)
    assert (rgb.dtype, valid.shape, valid.all()) == (scene.dtype, (7, 9), True)


def test_an_iteration_depends_on_the_seed_and_its_number_alone() -> None:
    first, second = crops(), crops()
    scales = first.scales()
    _ = [first.at(i, scales) for i in (9, 2)]
    for one, other in zip(first.at(4, scales), second.at(4, scales), strict=True):
        np.testing.assert_array_equal(one, other)
    cube = first.at(4, scales)[1]
    assert not np.array_equal(cube, first.at(5, scales)[1])
    assert not np.array_equal(cube, crops(seed=6).at(4, scales)[1])


@pytest.mark.parametrize("first", [0, 3])
def test_a_stream_is_the_iterations_in_order(first: int) -> None:
    crop = crops()
    for iteration, got in enumerate(islice(crop.stream(first), 3), first):
        for one, other in zip(got, crop.at(iteration, crop.scales()), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_crop_renders_to_its_rgb() -> None:
    crop = crops()
    rgb, cube, sensitivities = crop.at(0, crop.scales())
    assert (rgb.shape, cube.shape, sensitivities.shape) == (
        (16, 3, 8, 8),
        (16, 31, 8, 8),
        (16, 3, 31),
    )
    expected = np.maximum(np.einsum("ncw,nwyx->ncyx", sensitivities, cube), 0)
    np.testing.assert_allclose(rgb, expected, atol=1e-5)
    assert {array.dtype for array in (rgb, cube, sensitivities)} == {np.dtype(np.float32)}


def test_a_crop_is_a_part_of_a_scene_turned_and_scaled() -> None:
    cubes = [np.tile(np.arange(1, 401, dtype=np.float32).reshape(1, SIDE, SIDE), (31, 1, 1))]
    crop = crops(cubes=cubes, exposure=0.0)
    for part in crop.at(0, np.full((1, 3), 2.0))[1]:
        steps = {tuple(sorted(np.abs(np.diff(2 * part[0], axis=axis)).ravel())) for axis in (0, 1)}
        assert steps == {(1.0,) * 56, (20.0,) * 56}


def test_scales_are_those_of_the_thinned_scenes() -> None:
    crop = crops()
    rgb = np.maximum(crop.cameras[2].render(crop.cubes[1][:, ::8, ::8]), 0)
    assert crop.scales().shape == (2, 3)
    assert crop.scales()[1, 2] == pytest.approx(scale_of(rgb))


def test_exposure_spreads_the_scale() -> None:
    flat = [np.ones((31, SIDE, SIDE), np.float32)]
    crop = crops(cubes=flat, exposure=0.3, batch=200)
    seen = np.log(crop.at(0, np.ones((1, 3)))[1][:, 0, 0, 0])
    assert -0.3 <= seen.min() < -0.25
    assert 0.25 < seen.max() <= 0.3


def test_a_crop_larger_than_a_scene_is_refused() -> None:
    assert crops(crop=SIDE).at(0, crops().scales())[0].shape == (16, 3, SIDE, SIDE)
    with pytest.raises(Refusal, match=f"at most {SIDE}"):
        crops(crop=SIDE + 1)


def test_the_prior_is_symmetric_positive_definite() -> None:
    prior = spectral_prior(crops())
    assert (prior.shape, prior.dtype) == ((31, 31), np.float64)
    np.testing.assert_array_equal(prior, prior.T)
    assert np.linalg.eigvalsh(prior).min() > 0


def test_the_prior_does_not_depend_on_a_scenes_exposure() -> None:
    crop = crops()
    darker = [crop.cubes[0] * np.float32(0.125), crop.cubes[1]]
    np.testing.assert_allclose(spectral_prior(crops(cubes=darker)), spectral_prior(crop), rtol=1e-5)
