"""What lies beside a cube is used with the cube that it was made with, and with no other."""

import json
import shutil

import numpy as np
import pytest
import zarr

from pipeline.companion import Companion
from pipeline.cube import CubeSpec, SpectralCube
from pipeline.errors import Refusal
from pipeline.store import open_store
from pipeline.verify import damage
from pipeline.view import CubeView
from tests.cubes import make
from tests.test_mosaic import save, whole

FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


def swap(tmp_path, **about):
    """A finished cube beside which lies what is of another with the same shape."""
    for name, model in (("a", "toy"), ("b", "another")):
        make(tmp_path / f"{name}.zarr", settings={"model": model}, **about)
    shutil.rmtree(tmp_path / "a_aux.zarr")
    (tmp_path / "b_aux.zarr").rename(tmp_path / "a_aux.zarr")
    return str(tmp_path / "a.zarr")


@FORMATS
def test_that_of_another_cube_of_its_shape_is_refused(tmp_path, zarr_format):
    uri = swap(tmp_path, zarr_format=zarr_format)
    refused = pytest.raises(Refusal, match=r"was made with it.*a_aux\.zarr of another\. Move")
    with refused:
        CubeView.open(uri)
    for mode in ("r", "r+"):
        with refused:
            _ = SpectralCube.open(uri, mode).companion
    with refused:
        damage(cube := SpectralCube.open(uri), cube.chunks())
    # The cube by itself is whole.
    shutil.rmtree(tmp_path / "a_aux.zarr")
    assert CubeView.open(uri).aux == {}


@FORMATS
def test_that_of_equal_settings_is_its_own_wherever_both_lie(tmp_path, zarr_format):
    settings = {"white": (255.0, np.pi), "camera": {"name": "é"}, "seed": 7, "area": None}
    make(tmp_path / "a.zarr", zarr_format=zarr_format, settings=settings)
    for kind in ("", "_aux"):
        (tmp_path / f"a{kind}.zarr").rename(tmp_path / f"moved{kind}.zarr")
    assert "valid" in CubeView.open(str(tmp_path / "moved.zarr")).aux


@pytest.mark.parametrize("mark", [1, None])
def test_one_of_an_older_form_is_refused_with_a_fix(tmp_path, mark):
    uri = str(make(tmp_path / "a.zarr").uri)
    group = zarr.open_group(open_store(Companion.uri(uri)), mode="r+", use_consolidated=False)
    group.update_attributes({"r2h_companion": mark})
    for name in ("seam", "census"):
        del group[name]
    zarr.consolidate_metadata(group.store)
    with pytest.raises(Refusal, match=r"by this version.*make the cube again with --overwrite"):
        CubeView.open(uri)
    with pytest.raises(Refusal, match="--overwrite"):
        _ = SpectralCube.open(uri).companion
    SpectralCube.remove(uri)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_not_resumed_beside_that_of_another_and_begins_again(tmp_path, command, weights):
    save(tmp_path / "in.tif", whole() | np.uint8(1))
    small = ("--checkpoint", weights, "--tile", 32, "--overlap", 8, "--chunk", 32)
    for name, seed in (("a", 1), ("b", 2)):
        words = ("reconstruct", tmp_path / "in.tif", tmp_path / f"{name}.zarr", *small)
        assert command(*words, "--seed", seed)[0] == 0
    shutil.rmtree(tmp_path / "b_aux.zarr")
    (tmp_path / "a_aux.zarr").rename(tmp_path / "b_aux.zarr")
    code, _, said = command(*words, "--seed", 2, "--resume")
    assert code == 2
    assert "b_aux.zarr of another" in said
    code, _, said = command(*words, "--seed", 2, "--overwrite")
    assert code == 0, said
    stored = json.loads((tmp_path / "b_aux.zarr/.zattrs").read_text())["r2h_companion"]
    assert len(stored) == 64
    assert CubeView.open(str(tmp_path / "b.zarr")).aux


@FORMATS
def test_who_names_the_companion_is_told_of_its_cube(tmp_path, zarr_format):
    uri = str(tmp_path / "a.zarr")
    SpectralCube.create(uri, CubeSpec(8, 8, (4e2, 5e2), 8, zarr_format=zarr_format))
    with pytest.raises(Refusal, match="the cube that it lies beside"):
        SpectralCube.open(Companion.uri(uri))
