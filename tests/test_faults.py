"""Faults in short; `make faults` has them by the hundred. Each ends in the undisturbed store."""

import errno
import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import torch
import zarr
import zarr.storage._local as local_store

import model
from flows import cli, verify
from flows.commands.common import STOPPED
from flows.reconstruct import check
from flows.record import recorded
from pipeline import chunks, store
from pipeline.closure import Closure
from pipeline.companion import _digest
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.layers import CLOSURE
from pipeline.overview import halved, owned
from pipeline.place import COMPANION
from pipeline.scene import RasterScene
from pipeline.sums import Sums
from pipeline.whole import lost_beside
from tests.faults import ways
from tests.faults.run import TILING, Run, assert_same, aux, raster
from tests.toys import objects


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An undisturbed cube; its source is beside it."""
    folder = tmp_path_factory.mktemp("faults")
    source = raster(folder / "source.tif", 96, 128)
    code, said = Run(source, folder / "plain.zarr").end()
    assert code == 0, said
    return folder / "plain.zarr"


@pytest.fixture
def source(plain):
    return plain.with_name("source.tif")


@pytest.fixture
def cube(tmp_path):
    return tmp_path / "a.zarr"


@pytest.fixture
def r2h(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["r2h", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code or 0, capsys.readouterr().err

    return run


def begun(words):
    return ("reconstruct", *words, *TILING)


def test_kills_and_stops(source, plain):
    assert ways.signals(source, plain, signal.SIGKILL, 2, 2.0) == 2
    assert ways.signals(source, plain, signal.SIGTERM, 1, 2.0) == 1


def test_two_at_once(source, plain):
    assert ways.rivals(source, plain, 1) == 1


@pytest.mark.parametrize(
    ("code", "after"),
    [(errno.ENOSPC, 0), (errno.ENOSPC, 3), (errno.EDQUOT, 30), (errno.ENOSPC, 60)],
)
def test_a_full_disk_or_quota(  # noqa: PLR0917
    r2h, source, plain, cube, monkeypatch, code, after
):
    why = os.strerror(code)
    puts = []

    def filling(put):
        def full(path, *given, **more):
            puts.append(path)
            if len(puts) > after:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.with_suffix(".partial").write_bytes(b"half")
                raise OSError(code, why, str(path))
            return put(path, *given, **more)

        return full

    with monkeypatch.context() as patch:
        for module, name in ((local_store, "_put"), (chunks, "move_in"), (store, "move_in")):
            patch.setattr(module, name, filling(getattr(module, name)))
        ended, said = r2h(*begun((source, cube)))
    assert ended in (1, 2)
    assert why in said
    if cube.exists():
        more = "--resume" if "--resume" in said else "--overwrite"
        assert r2h(*begun((source, cube)), more)[0] == 0
    else:
        assert r2h(*begun((source, cube)))[0] == 0
    assert_same(plain, cube)


@pytest.mark.parametrize(
    ("where", "name", "error"),
    [
        (SpectralCube, "store", MemoryError()),
        (model.Reconstructor, "__call__", torch.OutOfMemoryError("CUDA out of memory")),
    ],
    ids=["host, writing", "CUDA, in the model"],
)
def test_no_memory_left(  # noqa: PLR0917
    r2h, source, plain, cube, monkeypatch, where, name, error
):
    call, calls = getattr(where, name), []

    def full(*given):
        calls.append(1)
        if len(calls) > (12 if name == "__call__" else 3):
            raise error
        return call(*given)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, full)
        code, said = r2h(*begun((source, cube)))
    assert code == 1
    assert "--resume and fewer --threads" in said
    assert "Traceback" not in said
    assert r2h(*begun((source, cube)), "--resume")[0] == 0
    assert_same(plain, cube)


@pytest.mark.parametrize("how", ["another", "cut short", "another, and a signal"])
def test_an_input_that_changes_while_it_is_read(r2h, tmp_path, cube, monkeypatch, how):
    source = raster(tmp_path / "source.tif", 96, 128)
    first, read = source.read_bytes(), RasterScene.read
    other = tmp_path / "other"
    other.write_bytes(first[:-1] + bytes([first[-1] ^ 1]))

    def change(self, window):
        if cube.exists() and how == "cut short":
            os.truncate(source, 200)
        elif cube.exists():
            with suppress(FileNotFoundError):  # another thread was first
                other.replace(source)
                if "signal" in how:
                    os.kill(os.getpid(), signal.SIGTERM)
        return read(self, window)

    with monkeypatch.context() as patch:
        patch.setattr(RasterScene, "read", change)
        code, said = r2h(*begun((source, cube)))
    assert code == 2
    assert "stays what it was" in said
    assert not SpectralCube.open(str(cube)).sealed
    source.write_bytes(first)
    code, said = r2h(*begun((source, cube)), "--resume")
    assert code == 2
    assert "--overwrite" in said
    assert r2h(*begun((source, cube)), "--overwrite")[0] == 0


def test_an_input_that_changes_before_its_cube_is_begun(r2h, tmp_path, cube, monkeypatch):
    source = raster(tmp_path / "source.tif", 96, 128)
    (tmp_path / "other").write_bytes(source.read_bytes())
    assert r2h(*begun((source, cube)))[0] == 0
    before = objects(cube)

    def replaced(job, stop):
        # While a tile was tried for the forecast.
        (tmp_path / "other").replace(source)
        return check(job, stop)

    monkeypatch.setattr("flows.reconstruct.check", replaced)
    code, said = r2h(*begun((source, cube)), "--overwrite")
    assert code == 2
    assert "when it was opened" in said
    assert objects(cube) == before


def test_a_resume_goes_on_with_a_copy_and_with_nothing_else(r2h, tmp_path, cube, monkeypatch):
    source = raster(tmp_path / "source.tif", 96, 128)
    add = Sums.add

    def stop(self, tile, values):
        if tile.at == (2, 1):
            os.kill(os.getpid(), signal.SIGTERM)
        return add(self, tile, values)

    with monkeypatch.context() as patch:
        patch.setattr(Sums, "add", stop)
        assert r2h(*begun((source, cube)))[0] == STOPPED
    whole = source.read_bytes()
    (tmp_path / "other").mkdir()
    copy = tmp_path / "other" / "source.tif"
    copy.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, said = r2h(*begun((copy, cube)), "--resume")
    assert code == 2
    assert "stays what it was" in said
    copy.write_bytes(whole)
    assert r2h(*begun((copy, cube)), "--resume")[0] == 0
    assert r2h(*begun((source, cube.with_name("b.zarr"))))[0] == 0
    assert_same(cube.with_name("b.zarr"), cube)


def test_cut_metadata_are_said(r2h, source, plain, cube):
    shutil.copytree(plain, cube)
    shutil.copytree(aux(plain), aux(cube))
    (cube / ".zmetadata").unlink()
    for name in (".zattrs", ".zgroup", "reflectance/.zarray"):
        whole = (cube / name).read_bytes()
        (cube / name).write_bytes(b"")
        # Without its attributes nothing says that it is no other's.
        fix = "delete it yourself" if name == ".zattrs" else "--overwrite"
        with pytest.raises(Refusal, match=fix):
            SpectralCube.open(str(cube))
        (cube / name).write_bytes(whole)
    (cube / "wavelength/0").write_bytes(b"")
    with pytest.raises(Refusal, match="--resume"):
        _ = SpectralCube.open(str(cube)).wavelengths
    shutil.copy(plain.with_suffix(".run.json"), cube.with_suffix(".run.json"))
    assert r2h(*begun((source, cube)), "--resume")[0] == 0
    assert_same(plain, cube)


def chunk_of(cube):
    return zarr.open_group(cube, mode="r+", use_consolidated=False)["reflectance"]


def lift(cube, by):
    array = chunk_of(cube)
    values = array[:, :32, :32]
    array[:, :32, :32] = np.where(values == 65535, values, values + np.uint16(by))


def follow(cube):
    """What lies beside the chunk that was lifted, made from it again, as by its own run."""
    opened, window = SpectralCube.open(str(cube), "r+"), Window(0, 0, 32, 32)
    job = verify._opened(recorded(str(cube)), str(cube), None)
    raw = opened.raw(window)
    pixels, known = job.scene.read(window)
    linear = job.camera.decode(np.where(known, pixels, 0))
    off = Closure(job.camera.sensitivities).off(raw, linear)
    valid = opened.companion.group["valid"][:32, :32].astype(bool)
    counts = np.where(valid, np.rint(off / CLOSURE), 65535)
    opened.companion.group["closure"][:32, :32] = counts.astype(np.uint16)
    for factor in owned(opened.height, opened.width, 32):
        raw = halved(raw)
        opened.companion.overviews[factor][:, : 32 // factor, : 32 // factor] = raw


def roll(cube):
    """Other pixels' spectra: of no other nodata, and within the range."""
    array = chunk_of(cube)
    array[:, 32:64, 32:64] = np.roll(array[:, 32:64, 32:64], 3, axis=2)


def smudge(cube, name, value):
    zarr.open_group(aux(cube), mode="r+", use_consolidated=False)[name][..., 3, 4] = value


def miscount(cube, name):
    record = zarr.open_group(aux(cube), mode="r+", use_consolidated=False)[name]
    record[0, 0, 1] = record[0, 0, 1] + 7


def retell(cube):
    path = aux(cube) / ".zmetadata"
    path.write_text(path.read_text().replace("1e-05", "1e-04"))


def reword(cube):
    for name in (".zmetadata", "closure/.zattrs"):
        path = aux(cube) / name
        path.write_text(path.read_text().replace("1e-05", "1e-04"))


def punch(cube):
    chunk_of(cube)[:, 5, 7] = 65535


def rename(cube):
    """The same everywhere, so that no copy differs."""
    for name in (".zmetadata", "reflectance/.zattrs"):
        text = (cube / name).read_text()
        assert text.count("relative to white") == 1
        (cube / name).write_text(text.replace("relative to white", "of the surface"))


def elsewhere(cube):
    path = cube.with_suffix(".run.json")
    record = json.loads(path.read_text())
    record["environments"][0]["torch version"] = "another"
    path.write_text(json.dumps(record))


WRONG = {
    "nothing": ([], "compared exactly", 0),
    "nothing, made elsewhere": ([elsewhere], "within 0.002, as of a recorded", 0),
    "a last bit": ([partial(lift, by=1)], "differs by 0.0001", 1),
    "a last bit, made elsewhere": (
        [partial(lift, by=1), follow, elsewhere],
        "there differ torch version",
        0,
    ),
    "more, made elsewhere": ([partial(lift, by=21), elsewhere], "differs by 0.0021", 1),
    "nodata": ([punch], "nodata where the input has none", 1),
    "metadata": ([rename], "is not as it was created", 1),
    "metadata beside it": ([reword], "closure/.zattrs is not as it was created", 1),
    "other pixels": ([roll], "chunk (1, 1) does not render to its input", 1),
    "an overview": ([partial(smudge, name="overview_2", value=7)], "its overview of 2 pixels", 1),
    "a mask": ([partial(smudge, name="valid", value=0)], "and its valid mask differ", 1),
    "a flag": ([partial(smudge, name="quality", value=255)], "codes beside it at 1", 1),
    "a record of seams": ([partial(miscount, name="seam")], "codes beside it at 1", 1),
    "a record of the census": ([partial(miscount, name="census")], "codes beside it at 1", 1),
    "a copy of metadata beside it": ([retell], "metadata of closure are others", 1),
    "closure": ([partial(smudge, name="closure", value=900)], "render to its input as its", 1),
    "a chunk": ([lambda cube: (cube / "reflectance/0.1.2").unlink()], ": missing", 1),
}


@pytest.mark.parametrize("name", ["x/0", "y/0", "x/.zarray", "aux/y_2/0"])
@pytest.mark.parametrize("cut", [None, 0, 5])
def test_labels_that_a_power_loss_took_are_written_again(r2h, copied, source, name, cut):
    path = aux(copied) / name[4:] if name.startswith("aux/") else copied / name
    whole = path.read_bytes()
    if cut is None:
        path.unlink()
    else:
        path.write_bytes(whole[:cut])
    opened = SpectralCube.open(str(copied)) if name.endswith("0") else None
    if cut is None and opened:
        assert lost_beside(opened) == 1
    assert r2h(*begun((source, copied)), "--resume")[0] == 0
    assert path.read_bytes() == whole


@pytest.fixture
def copied(plain, cube):
    for path in (plain, aux(plain), plain.with_suffix(".run.json")):
        copy = shutil.copytree if path.is_dir() else shutil.copyfile
        copy(path, cube.with_name(path.name.replace("plain", "a")))
    return cube


@pytest.mark.parametrize("what", WRONG)
def test_verify_says_what_is_wrong(copied, command, what):
    changes, said, code = WRONG[what]
    for change in changes:
        change(copied)
    ended, out, _ = command("verify", copied, "--sample", 1)
    assert (ended, said in out) == (code, True), out


def test_verify_computes_by_the_engine_that_made_the_cube(copied, command, monkeypatch):
    monkeypatch.setattr("flows.bound.best_engine", lambda _: "torch-bfloat16")
    ended, out, _ = command("verify", copied, "--sample", 1)
    assert (ended, "compared exactly" in out) == (0, True), out


def test_verify_without_the_input_sees_that_all_is_there(copied, command):
    lift(copied, by=1)
    assert command("verify", copied, "--no-input")[0] == 0
    (copied / "reflectance" / "0.1.2").unlink()
    assert command("verify", copied, "--no-input")[0] == 1


def test_verify_refuses_another_input(plain, command, tmp_path):
    assert command("verify", plain, "--source", raster(tmp_path / "source.tif", 96, 160))[0] == 2


def test_verify_does_not_take_another_versions_cube_for_a_damaged_one(copied, command):
    settings = json.loads((copied / ".zattrs").read_text())["r2h"] | {"format": 1}
    for name in (".zattrs", ".zmetadata"):
        whole = json.loads((copied / name).read_text())
        (whole["metadata"][".zattrs"] if "metadata" in whole else whole)["r2h"] = settings
        (copied / name).write_text(json.dumps(whole))
    companion = zarr.open_group(aux(copied), mode="r+", use_consolidated=False)
    companion.attrs[COMPANION] = _digest(settings)
    ended, out, _ = command("verify", copied)
    assert (ended, "the cube is of format 1, not" in out) == (0, True), out
    (copied / "reflectance/0.1.2").unlink()
    assert command("verify", copied)[0] == 1
