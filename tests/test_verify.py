"""What is stored is looked through: by `mend` at a resume, by `r2h verify` when it is finished."""

import json
import random
import re
import shutil

import numpy as np
import pytest
import rasterio
import zarr

from pipeline import verify
from pipeline.agreement import consolidated
from pipeline.companion import Companion
from pipeline.cube import CubeSpec, SpectralCube
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.layout import PEAK
from pipeline.verify import Fault
from tests.faults.run import TILING, raster
from tests.toys import Toy, objects, scene, stream

SIZE = (30, 40)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A sealed cube of 4 x 5 chunks with nodata, and its companion."""
    path = tmp_path_factory.mktemp("verify") / "a.zarr"
    whole = stream(path, scene(*SIZE, share_valid=0.9), Toy())
    whole.run(whole.place)
    whole.cube.seal()
    return path


@pytest.fixture
def cube(finished, tmp_path):
    for uri in (str(finished), Companion.uri(str(finished))):
        shutil.copytree(uri, tmp_path / uri.rsplit("/", 1)[-1])
    return tmp_path / "a.zarr"


def faults(path, valid=None):
    cube = SpectralCube.open(str(path))
    found = [*consolidated(cube), *verify.damage(cube, cube.chunks())]
    whole = cube.chunks() - set().union(*(fault.chunks for fault in found))

    def look(window, raw):
        return verify.misplaced(raw, valid(window)) if valid else ()

    return found + list(verify.contents(cube, whole, look))


def test_a_whole_cube_has_no_fault(cube):
    of = scene(*SIZE, share_valid=0.9)
    assert faults(cube, lambda window: of.read(window)[1]) == []


def test_nodata_must_be_the_inputs(cube):
    of = scene(*SIZE, share_valid=0.9)
    of.valid[9, 17] ^= True
    (fault,) = faults(cube, lambda window: of.read(window)[1])
    assert fault.chunks == {(1, 2)}
    assert "1 pixels" in fault.what


def test_nodata_is_of_whole_pixels(cube):
    array = zarr.open_group(cube, mode="r+", use_consolidated=False)["reflectance"]
    chunk = array[:, 0:8, 8:16]
    row, col = np.argwhere(chunk[0] != 65535)[0]
    array[1, row, 8 + col] = 65535
    assert faults(cube) == [
        Fault("chunk (0, 1) has nodata at some wavelengths of a pixel", frozenset([(0, 1)]))
    ]


@pytest.mark.parametrize("value", [-1e-4, PEAK + 1e-3, np.inf])
def test_float_values_stay_in_the_range_written_at_creation(tmp_path, value):
    """Of uint16 every value but nodata is in it."""
    cube = SpectralCube.create(str(tmp_path / "a.zarr"), CubeSpec(8, 16, (4e2, 5e2), 8, "float32"))
    values, valid = np.full((2, 8, 16), PEAK, np.float32), np.ones((8, 16), bool)
    values[:, 0] = 0
    cube.write(Window(0, 0, 8, 16), values, valid)
    assert list(verify.contents(cube, cube.chunks(), lambda *_: ())) == []
    array = zarr.open_group(cube.uri, mode="r+", use_consolidated=False)["reflectance"]
    array[1, 2, 11] = value
    (fault,) = verify.contents(cube, cube.chunks(), lambda *_: ())
    assert fault.what.startswith("chunk (0, 1) has values outside [0.0, 6.5534]")


@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "gone"])
@pytest.mark.parametrize("beside", [False, True])
def test_damage_is_found_mended_and_comes_back_the_same(cube, finished, damage, beside):
    for path in cube.parent.rglob("*.*.*"):
        assert path.stat().st_size > 0
    name = cube.with_name("a_aux.zarr") / "seam" / "2.3.0" if beside else cube / "reflectance/0.2.3"
    whole = name.read_bytes()
    name.unlink()
    if damage != "gone":
        turned = bytes([whole[-1] ^ 1])
        name.write_bytes({"cut": whole[:-3], "empty": b"", "bit": whole[:-1] + turned}[damage])
    (fault,) = faults(cube)
    assert fault.chunks == {(2, 3)}
    opened = SpectralCube.open(str(cube))
    if damage != "gone" and not beside:
        with pytest.raises(Refusal, match=r"can be read; got .*a\.zarr: .*--resume"):
            opened.read(Window(0, 0, opened.height, opened.width))
    if damage != "gone" or beside:  # a chunk of the cube that is gone is simply not finished
        assert verify.mend(opened) == [fault]
        assert not opened.sealed
    assert opened.chunks() - opened.finished() == {(2, 3)}
    again = stream(cube.with_name("b.zarr"), scene(*SIZE, share_valid=0.9), Toy())
    for old in (again.cube.uri, Companion.uri(again.cube.uri)):
        shutil.rmtree(old)
    again.cube.__init__(str(cube), zarr.open_group(cube, use_consolidated=False))
    again.run(again.place)
    again.cube.seal()
    for kind in ("a.zarr", "a_aux.zarr"):
        assert objects(cube.with_name(kind)) == objects(finished.with_name(kind))


def test_chunks_that_are_damaged_alike_are_one_fault(cube):
    for at in ((0, 2), (1, 0), (3, 4)):
        (cube / "reflectance" / f"0.{at[0]}.{at[1]}").unlink()
    assert faults(cube) == [
        Fault(
            "reflectance chunk (0, 0, 2) and 2 more: missing", frozenset([(0, 2), (1, 0), (3, 4)])
        )
    ]


def test_a_coarser_overview_is_mended_without_a_chunk_made_again(cube, finished):
    name = cube.with_name("a_aux.zarr") / "overview_8/0.0.0"
    name.write_bytes(name.read_bytes()[:-3])
    opened = SpectralCube.open(str(cube), "r+")
    (fault,) = verify.mend(opened)
    assert "overview_8" in fault.what
    assert not opened.sealed
    assert opened.finished() == opened.chunks()
    opened.seal()
    for kind in ("a.zarr", "a_aux.zarr"):
        assert objects(cube.with_name(kind)) == objects(finished.with_name(kind))


def test_every_cut_of_every_chunk_is_found(cube):
    random.seed(0)
    paths = sorted((cube / "reflectance").glob("0.*"))
    for path in paths:
        whole = path.read_bytes()
        path.write_bytes(whole[: random.randrange(len(whole))])
    found = set().union(*(fault.chunks for fault in faults(cube)))
    assert found == SpectralCube.open(str(cube)).chunks()
    assert len(found) == len(paths) == 20


def test_metadata_are_those_of_the_creation(cube, finished):
    assert not list(verify.metadata(str(cube), str(finished)))
    group = zarr.open_group(cube, mode="r+", use_consolidated=False)
    group["wavelength"][1] = 551
    group["reflectance"].attrs["scale_factor"] = 1e-3
    found = [fault.what for fault in verify.metadata(str(cube), str(finished))]
    assert len(found) == 2
    assert any("wavelength, its values," in what for what in found)
    assert any("reflectance/.zattrs" in what for what in found)
    assert Fault("the consolidated metadata of reflectance are others") in faults(cube)


def test_a_v3_cube_is_mended_and_sealed_again(tmp_path):
    from pipeline.layers import CENSUS, Layers  # noqa: PLC0415
    from pipeline.seam import FIELDS  # noqa: PLC0415

    spec = CubeSpec(8, 16, (400.0, 500.0), chunk=8, zarr_format=3)
    cube = SpectralCube.create(str(tmp_path / "a.zarr"), spec)
    values, valid = np.ones((2, 8, 16), np.float32), np.ones((8, 16), bool)

    def fill():
        for col in (0, 1):
            flat = np.zeros((8, 8), np.uint8)
            beside = Layers(flat, flat.astype(np.uint16), None, np.zeros(CENSUS, np.int64))
            cube.companion.note(Window(0, 8 * col, 8, 8), np.zeros(FIELDS, np.int64), beside)
        cube.write(Window(0, 0, 8, 16), values, valid)
        cube.seal()
        return objects(tmp_path)

    # The companion's zeros are written too, so that each record is an object.
    whole = fill()
    path = tmp_path / "a.zarr/reflectance/c/0/0/1"
    path.write_bytes(path.read_bytes()[:-1])
    assert len(verify.mend(cube)) == 1
    assert not cube.sealed
    assert fill() == whole


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_run_of_either_type_and_format_is_verified(tmp_path, command, dtype, zarr_format):
    """The nodata of float32, NaN, equals nothing, itself included."""
    source, out = raster(tmp_path / "in.tif", 64, 64), tmp_path / "a.zarr"
    kind = ("--dtype", dtype, "--zarr-format", zarr_format)
    assert command("reconstruct", source, out, *TILING, *kind)[0] == 0
    code, said, _ = command("verify", out)
    assert code == 0, said


def _moved(path):
    path.write_text(re.sub(r"(<GeoTransform>)\S+,", r"\g<1>7,", path.read_text()))


def _rolled(path):
    with rasterio.open(path) as file:
        values, profile = np.roll(file.read(), 3, axis=2), file.profile
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)


def _renamed(path):
    path.write_text(path.read_text().replace("0.55,", "0.56,"))


def _other_steps(path):
    record = json.loads(path.read_text())
    record["provenance"]["steps"] = 7
    path.write_text(json.dumps(record))


def test_what_lies_beside_a_cube_must_follow_from_it(tmp_path, command):
    source, out = raster(tmp_path / "in.tif", 64, 64), tmp_path / "a.zarr"
    words = ("--datetime", "2026-07-01T10:30:00Z")
    assert command("reconstruct", source, out, *TILING, *words)[0] == 0
    for name, change, told in (
        ("a.vrt", _moved, "a.vrt is not"),
        ("a.quicklook.tif", _rolled, "a.quicklook.tif is not"),
        ("a.quicklook.tif", lambda path: path.write_bytes(b""), "a.quicklook.tif is not"),
        ("a.json", _renamed, "other assets"),
        ("a.json", lambda path: path.write_text("{"), "a.json cannot be read"),
        ("a.run.json", _other_steps, "another provenance"),
    ):
        whole = (tmp_path / name).read_bytes()
        change(tmp_path / name)
        code, said, _ = command("verify", out)
        assert (code, told in said) == (1, True), said
        (tmp_path / name).write_bytes(whole)
    code, said, _ = command("verify", out)
    assert code == 0, said


def test_a_companion_that_is_gone_is_a_fault_beside_the_cubes_own(tmp_path, command):
    source, out = raster(tmp_path / "in.tif", 64, 64), tmp_path / "a.zarr"
    assert command("reconstruct", source, out, *TILING)[0] == 0
    shutil.rmtree(tmp_path / "a_aux.zarr")
    chunk = min(p for p in (out / "reflectance").rglob("*") if p.name[0].isdigit())
    chunk.write_bytes(chunk.read_bytes()[:-1])
    code, said, _ = command("verify", out)
    assert code == 1
    assert "a_aux.zarr" in said
    assert "reflectance chunk" in said
    assert json.loads(command("info", out, "--json")[1])["lost_beside"] is None


def test_an_address_whose_secret_was_not_kept_is_asked_for(tmp_path, command):
    source, out = raster(tmp_path / "in.tif", 64, 64), tmp_path / "a.zarr"
    assert command("reconstruct", source, out, *TILING)[0] == 0
    record = tmp_path / "a.run.json"
    kept = json.loads(record.read_text())
    kept["settings"]["source"] = "https://example.org/in.tif?***"
    record.write_text(json.dumps(kept))
    code, _, said = command("verify", out)
    assert (code, "--source" in said) == (2, True)
    assert command("verify", out, "--source", source)[0] == 0


def test_a_cube_is_verified_from_any_folder(tmp_path, command, weights, monkeypatch):
    for folder in ("here", "elsewhere"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    raster(tmp_path / "here/in.tif", 48, 48)
    shutil.copy(weights, "own.safetensors")
    (tmp_path / "here/light.csv").write_text("wavelength_nm,power\n400,1\n550,2\n700,2\n")
    words = ("--checkpoint", "own.safetensors", "--illuminant", "light.csv", *TILING)
    code, _, said = command("reconstruct", "in.tif", "a.zarr", *words)
    assert code == 0, said
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, said, err = command("verify", tmp_path / "here/a.zarr")
    assert code == 0, err
    assert f"input: {tmp_path}/here/in.tif" in said
    (tmp_path / "here/in.tif").rename(tmp_path / "elsewhere/in.tif")
    code, _, err = command("verify", tmp_path / "here/a.zarr")
    assert code == 2
    assert "--source" in err
    assert command("verify", tmp_path / "here/a.zarr", "--source", "in.tif")[0] == 0


def test_what_rounds_elsewhere_may_be_far_off_at_a_value_but_not_at_many(tmp_path):
    size, whole = 128, Window(0, 0, 128, 128)
    values = np.full((3, size, size), 0.5, np.float32)
    for name, off in (("a", 0), ("b", 4), ("c", 40)):
        made = SpectralCube.create(
            str(tmp_path / name), CubeSpec(size, size, (400.0, 550.0, 700.0), 64)
        )
        values[0, 0, :off] = 0.53
        made.write(whole, values, np.ones((size, size), bool))
    one, few, many = (str(tmp_path / name) for name in "abc")
    assert verify.differences(one, whole, few) == (300.0, 0)
    assert verify.differences(one, whole, few, share=0.9999) == (0.0, 0)
    assert verify.differences(one, whole, many, share=0.9999) == (300.0, 0)
