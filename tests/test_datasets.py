"""The three data sets in their owners' own forms, written small."""

from pathlib import Path

import fsspec
import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pipeline.camera import load_camera, resampled
from pipeline.datasets import open_dataset, recognised
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.reference import Reference, ReferenceScene
from tests.owners import cube_of, write_arad, write_cave, write_harvard

HEIGHT, WIDTH = 20, 24
BASLER = load_camera("basler-a2a5320-23uc")


@pytest.fixture
def arad(tmp_path: Path) -> Path:
    return write_arad(tmp_path, {1: cube_of(1), 2: cube_of(2), 901: cube_of(3)})


@pytest.fixture
def cave(tmp_path: Path) -> Path:
    """As the database unpacks: a folder in each folder, with a photograph and litter."""
    folder = write_cave(tmp_path, "beads", (cube_of(4) * 65535).astype(np.uint16))
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "beads_RGB.bmp")
    (folder / "Thumbs.db").write_bytes(b"litter")
    (tmp_path / "readme.txt").write_text("litter")
    return tmp_path


@pytest.fixture
def harvard(tmp_path: Path) -> Path:
    for number in (0, 1, 2, 3, 4, 11):
        write_harvard(tmp_path, f"CZ_hsdb/img{number}", cube_of(number) * 0.02)
    return tmp_path


def test_arad_is_read_as_it_lies(arad: Path) -> None:
    opened = open_dataset("arad", arad)
    assert list(opened.paths) == ["ARAD_1K_0001", "ARAD_1K_0002", "ARAD_1K_0901"]
    scene = opened.read("ARAD_1K_0002")
    np.testing.assert_allclose(scene.cube, cube_of(2), rtol=1e-6)
    assert (scene.cube.dtype, scene.wavelengths) == (
        np.float32,
        tuple(map(float, range(400, 701, 10))),
    )
    assert scene.rgb is not None
    assert scene.rgb.shape == (3, HEIGHT, WIDTH)
    assert scene.valid.all()


def test_arads_splits_are_its_lists_or_its_numbers(arad: Path) -> None:
    numbered = open_dataset("arad", arad)
    assert len(numbered.splits["train"]) == 897
    assert "ARAD_1K_0314" not in numbered.splits["train"]
    assert numbered.split("validation") == ("ARAD_1K_0901",)
    (arad / "split_txt").mkdir()
    (arad / "split_txt" / "valid_list.txt").write_text("ARAD_1K_0002\n\n")
    listed = open_dataset("arad", arad)
    assert listed.split("validation") == ("ARAD_1K_0002",)
    with pytest.raises(Refusal, match="a scene of test must be there; got none of ARAD_1K_0951"):
        listed.split("test")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("ARAD_1K_0001.mat\r\nARAD_1K_0002.jpg\r\n", ("ARAD_1K_0001", "ARAD_1K_0002")),
        ("\ufeffARAD_1K_0001\n", ("ARAD_1K_0001",)),
        ("ARAD_1K_0001\nARAD_1K_0002\nARAD_1K_0001\n", ("ARAD_1K_0001", "ARAD_1K_0002")),
    ],
)
def test_arads_lists_are_read_however_they_were_saved(
    arad: Path, text: str, names: tuple[str, ...]
) -> None:
    (arad / "split_txt").mkdir()
    (arad / "split_txt" / "valid_list.txt").write_bytes(text.encode())
    assert open_dataset("arad", arad).split("validation") == names
    (arad / "split_txt" / "valid_list.txt").write_bytes(text.encode("utf-16"))
    with pytest.raises(Refusal, match="UTF-8"):
        recognised(arad)


def test_arads_cubes_are_reflectance(tmp_path: Path) -> None:
    root = write_arad(tmp_path, {3: 100 * cube_of(3)})
    with pytest.raises(Refusal, match=r"is reflectance, 0 to 1; got .*0003\.mat: a hundredth"):
        open_dataset("arad", root).read("ARAD_1K_0003")


def test_what_systems_leave_beside_scenes_is_none(cave: Path, harvard: Path) -> None:
    (cave / "._beads_ms").mkdir()
    (harvard / "CZ_hsdb" / "._img1.mat").write_bytes(b"x")
    (harvard / "CZ_hsdb" / "calib.mat").write_bytes(b"x")
    for name, root in (("cave", cave), ("harvard", harvard)):
        assert not [each for each in open_dataset(name, root).paths if "." in each or "cal" in each]


def test_endings_may_be_in_capitals(cave: Path, arad: Path) -> None:
    before = open_dataset("cave", cave).read("beads").cube
    for path in [*cave.rglob("*.png"), *arad.rglob("*.mat"), *arad.rglob("*.jpg")]:
        path.rename(path.with_suffix(path.suffix.upper()))
    np.testing.assert_array_equal(open_dataset("cave", cave).read("beads").cube, before)
    assert open_dataset("arad", arad).read("ARAD_1K_0001").rgb is not None


def test_arads_own_photograph_is_read_with_its_exposure(arad: Path) -> None:
    reference = open_dataset("arad", arad).read("ARAD_1K_0001")
    scene = ReferenceScene.published(reference, BASLER)
    clean = ReferenceScene.rendered(reference, BASLER)
    # Noise, eight bits and JPEG lie between them, no exposure.
    assert scene.rgb.mean() == pytest.approx(clean.rgb.mean(), rel=0.03)
    assert np.corrcoef(scene.rgb.ravel(), clean.rgb.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("damage", ["cut", "no cube", "other bands", "other size", "not a jpeg"])
def test_a_damaged_arad_scene_is_refused_by_name(arad: Path, damage: str) -> None:
    path = arad / "Train_Spec" / "ARAD_1K_0001.mat"
    photo = arad / "Train_RGB" / "ARAD_1K_0001.jpg"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:700])
    elif damage == "not a jpeg":
        photo.write_bytes(b"no")
    else:
        with h5py.File(path, "r+") as file:
            if damage == "other bands":
                file["bands"][...] += 5
            else:
                del file["cube"]
            if damage == "other size":
                file["cube"] = np.zeros((31, 5, 5))
    with pytest.raises(Refusal, match="ARAD_1K_0001"):
        open_dataset("arad", arad).read("ARAD_1K_0001")


def test_cave_is_value_by_65535(cave: Path) -> None:
    scene = open_dataset("cave", cave).read("beads")
    assert (scene.cube.dtype, scene.cube.shape) == (np.float32, (31, HEIGHT, WIDTH))
    np.testing.assert_allclose(scene.cube, cube_of(4), atol=1 / 65535)


def test_a_cave_scene_of_8_bit_rgba_is_value_by_255(cave: Path) -> None:
    planes = (cube_of(5) * 255).astype(np.uint8)
    rgba = np.stack([planes, planes, planes, np.full_like(planes, 255)], axis=-1)
    write_cave(cave, "watercolors", rgba)
    opened = open_dataset("cave", cave)
    assert list(opened.paths) == ["beads", "watercolors"]
    np.testing.assert_allclose(opened.read("watercolors").cube, planes / 255, rtol=1e-6)


def test_caves_flat_layout_is_found_too(tmp_path: Path) -> None:
    folder = write_cave(tmp_path, "cd", (cube_of(4) * 65535).astype(np.uint16))
    folder.rename(tmp_path / "moved")
    folder.parent.rmdir()
    (tmp_path / "moved").rename(tmp_path / "cd_ms")
    assert open_dataset("cave", tmp_path).paths == {"cd": "cd_ms"}


def test_a_missing_png_is_refused(cave: Path) -> None:
    (cave / "beads_ms" / "beads_ms" / "beads_ms_17.png").unlink()
    with pytest.raises(Refusal, match="30 in"):
        open_dataset("cave", cave).read("beads")


@pytest.mark.parametrize("kept", [40, 300])
def test_a_broken_png_is_refused_by_name(cave: Path, kept: int) -> None:
    path = cave / "beads_ms" / "beads_ms" / "beads_ms_17.png"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Refusal, match=r"readable.*beads_ms_17"):
        open_dataset("cave", cave).read("beads")


def test_harvard_is_divided_by_its_greatest_valid_value(harvard: Path) -> None:
    opened = open_dataset("harvard", harvard)
    assert opened.wavelengths == tuple(map(float, range(420, 721, 10)))
    scene = opened.read("CZ_hsdb/img3")
    raw = cube_of(3)
    assert not scene.valid[0].any()
    assert scene.valid[1:].all()
    np.testing.assert_allclose(scene.cube, raw / raw[:, 1:].max(), rtol=1e-5)


def test_a_harvard_mask_of_no_number_is_not_valid(harvard: Path) -> None:
    lbl = np.ones((20, 24))
    lbl[2, :4] = 0, np.nan, np.inf, 2
    ref = cube_of(7).transpose(1, 2, 0).astype(np.float64)
    savemat(harvard / "CZ_hsdb" / "img7.mat", {"ref": ref, "lbl": lbl})
    valid = open_dataset("harvard", harvard).read("CZ_hsdb/img7").valid
    assert valid[2, :4].tolist() == [False, False, False, True]
    assert valid.sum() == valid.size - 3


def test_harvard_is_calibrated_where_that_is_asked_for(harvard: Path) -> None:
    sensitivity = np.linspace(0.2, 4, 31)
    (harvard / "calib.txt").write_text("\n".join(f"{value:.6f}" for value in sensitivity))
    plain = open_dataset("harvard", harvard).read("CZ_hsdb/img1").cube
    known = open_dataset("harvard", harvard, calibrate=True).read("CZ_hsdb/img1").cube
    ratio = (known / plain)[:, 3, 3]
    np.testing.assert_allclose(ratio * sensitivity, (ratio * sensitivity)[0], rtol=1e-4)
    (harvard / "calib.txt").write_text("1 2 3")
    with pytest.raises(Refusal, match="31 positive"):
        open_dataset("harvard", harvard, calibrate=True).read("CZ_hsdb/img1")
    (harvard / "calib.txt").unlink()
    with pytest.raises(Refusal, match=r"calib\.txt"):
        open_dataset("harvard", harvard, calibrate=True).read("CZ_hsdb/img1")


def test_a_folder_of_own_cubes_is_recognised(tmp_path: Path) -> None:
    cube = cube_of(1).transpose(1, 2, 0)
    np.savez(tmp_path / "field.npz", cube=cube, wavelength_nm=np.arange(400.0, 701, 10))
    opened = recognised(tmp_path)
    assert (opened.name, opened.splits, list(opened.paths)) == ("own", {}, ["field"])
    expected = cube_of(1) / np.percentile(cube_of(1), 99)
    np.testing.assert_allclose(opened.read("field").cube, expected, rtol=1e-6)


def test_only_harvard_is_calibrated(cave: Path) -> None:
    with pytest.raises(Refusal, match="Harvard's"):
        open_dataset("cave", cave, calibrate=True)


def test_harvards_splits_are_ours_and_disjoint(harvard: Path) -> None:
    opened = open_dataset("harvard", harvard)
    train, validation = opened.split("train"), opened.split("validation")
    assert {*train, *validation} == {*opened.paths}
    assert not {*train} & {*validation}
    # Whatever is there, and wherever the root is.
    (harvard / "CZ_hsdb" / "img0.mat").unlink()
    assert open_dataset("harvard", harvard).split("validation") == validation
    assert open_dataset("harvard", harvard / "CZ_hsdb").split("validation") == ("img11",)


@pytest.mark.parametrize("damage", ["cut", "no ref"])
def test_a_damaged_harvard_scene_is_refused_by_name(harvard: Path, damage: str) -> None:
    path = harvard / "CZ_hsdb" / "img2.mat"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    else:
        savemat(path, {"lbl": np.ones((4, 4))})
    with pytest.raises(Refusal, match="img2"):
        open_dataset("harvard", harvard).read("CZ_hsdb/img2")


@pytest.mark.parametrize("name", ["arad", "cave", "harvard"])
def test_a_data_set_may_lie_behind_any_uri(name: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(name)
    memory = fsspec.filesystem("memory")
    memory.put(str(root), f"/{name}-{root.name}", recursive=True)
    here, there = recognised(root), recognised(f"memory://{name}-{root.name}")
    assert (here.name, here.paths) == (name, there.paths)
    for scene in here.paths:
        np.testing.assert_array_equal(here.read(scene).cube, there.read(scene).cube)


def test_opening_reads_no_scene(arad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.arad._cube", lambda *_: pytest.fail("read"))
    assert len(open_dataset("arad", arad).paths) == 3


@pytest.mark.parametrize("name", ["arad", "cave", "harvard"])
def test_a_root_of_another_layout_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refusal, match="root must hold"):
        open_dataset(name, tmp_path)
    with pytest.raises(Refusal, match="layout of one"):
        recognised(tmp_path)
    for gone in (tmp_path / "none", "nowhere://a"):
        with pytest.raises(Refusal, match="root must be"):
            recognised(gone)


def test_a_scene_that_is_not_there_is_refused(cave: Path) -> None:
    opened = open_dataset("cave", cave)
    with pytest.raises(Refusal, match="cloth"):
        opened.named(("beads", "cloth"))
    with pytest.raises(Refusal, match="must be one that is listed"):
        opened.split("validation")


def test_a_reference_scene_is_read_window_by_window() -> None:
    valid = np.ones((HEIGHT, WIDTH), bool)
    valid[4, 6] = False
    reference = Reference("toy", cube_of(0), BASLER.wavelengths, valid)
    scene = ReferenceScene.rendered(reference, BASLER)
    assert (scene.height, scene.width, scene.declared_white) == (HEIGHT, WIDTH, 1)
    rgb, known = scene.read(Window(3, 5, 7, 9))
    expected = np.maximum(BASLER.render(cube_of(0)), 0)[:, 3:10, 5:14]
    np.testing.assert_allclose(rgb, expected, atol=1e-6)
    assert (rgb.dtype, known.shape) == (scene.dtype, (7, 9))
    assert np.argwhere(~known).tolist() == [[1, 1]]


def test_a_scene_is_rendered_at_the_cameras_wavelengths() -> None:
    wide = tuple(map(float, range(420, 721, 10)))
    reference = Reference("toy", cube_of(0), wide, np.ones((HEIGHT, WIDTH), bool))
    camera = resampled(BASLER, wide[:-2])
    scene = ReferenceScene.rendered(reference, camera)
    np.testing.assert_allclose(scene.rgb, camera.render(cube_of(0)[:-2]), atol=1e-6)
    with pytest.raises(Refusal, match="photographs"):
        ReferenceScene.published(reference, camera)
