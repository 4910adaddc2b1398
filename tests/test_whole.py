"""A finished cube that lost chunks is never taken for one with nodata, nor a mix for a cube."""

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest

from flows import report as reports
from flows.verify import verify_cube
from pipeline import export as exports
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal
from pipeline.export import export
from pipeline.grid import Window
from pipeline.labels import Labels
from pipeline.verify import mend
from pipeline.view import CubeView
from pipeline.whole import describe_cube, lost, lost_beside, refuse_lost, unfinished
from tests.cubes import TURNED, _made, make

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
META = (".zattrs", ".zarray", ".zgroup", ".zmetadata", "zarr.json")
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


def cut(path, zarr_format=2):
    """A finished cube of 2 x 2 chunks, of which one is gone."""
    make(path, zarr_format=zarr_format)
    (path / "reflectance" / ("0.1.0" if zarr_format == 2 else "c/0/1/0")).unlink()
    return SpectralCube.open(str(path))


@FORMATS
def test_what_a_finished_cube_lost_is_known_and_not_exported(tmp_path, zarr_format):
    cube = cut(tmp_path / "a.zarr", zarr_format)
    assert lost(cube) == {(1, 0)}
    with pytest.raises(Refusal, match=r"all its chunks; got 1 of 4 missing in .*a\.zarr"):
        export(cube, str(tmp_path / "a.npy"))
    assert {path.name for path in tmp_path.iterdir()} == {"a.zarr", "a_aux.zarr"}
    assert not lost(make(tmp_path / "b.zarr", zarr_format=zarr_format))


def test_what_is_not_finished_yet_is_not_lost(tmp_path):
    cube = make(tmp_path / "a.zarr", seal=False)
    cube.drop(0, 0)
    assert not lost(cube)


@pytest.mark.parametrize("answer", [[], PermissionError("no listing")])
def test_a_store_that_lists_nothing_is_asked_for_each_chunk(tmp_path, monkeypatch, answer):
    whole, cut_ = make(tmp_path / "a.zarr"), cut(tmp_path / "b.zarr")

    def find(*_, **__):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(fsspec.implementations.local.LocalFileSystem, "find", find)
    assert not lost(whole)
    assert lost(cut_) == {(1, 0)}


def test_a_picture_and_a_report_show_no_hole_that_is_none(tmp_path, command):
    cut(tmp_path / "a.zarr")
    for word in ("look", "report"):
        code, _, said = command(word, tmp_path / "a.zarr")
        assert code == 2
        assert "1 of 4 missing" in said
    assert {path.name for path in tmp_path.iterdir()} == {"a.zarr", "a_aux.zarr"}
    code, said, _ = command("info", tmp_path / "a.zarr", "--json")
    assert json.loads(said)["lost_chunks"] == 1


@FORMATS
@pytest.mark.parametrize("name", ["quality", "seam", "overview_2"])
def test_what_lacks_beside_a_cube_is_said(tmp_path, command, zarr_format, name):
    cube = make(tmp_path / "a.zarr", zarr_format=zarr_format)
    assert lost_beside(cube) == 0
    min(
        p
        for p in (tmp_path / f"a_aux.zarr/{name}").rglob("*")
        if p.name[0].isdigit() and p.is_file()
    ).unlink()
    assert lost_beside(cube) == 1
    for word in ("look", "report"):
        code, _, said = command(word, tmp_path / "a.zarr")
        assert code == 2
        assert "1 of what lies beside it missing" in said
    assert json.loads(command("info", tmp_path / "a.zarr", "--json")[1])["lost_beside"] == 1
    assert "✗ its chunks" in command("doctor", tmp_path / "a.zarr")[1]
    # The values are all there.
    export(cube, str(tmp_path / "a.npy"))
    shutil.rmtree(tmp_path / "a_aux.zarr")
    assert lost_beside(SpectralCube.open(cube.uri)) == 0


def test_a_picture_of_what_is_not_finished_says_so(tmp_path, command):
    cube = make(tmp_path / "a.zarr", seal=False)
    cube.drop(0, 1)
    assert unfinished(cube) == 1
    code, _, said = command("look", tmp_path / "a.zarr")
    assert code == 0
    assert "NOT complete: 1 chunks" in said


@pytest.mark.parametrize("chunk", [30, 32])
def test_a_resume_takes_up_what_is_there_whatever_the_chunk(tmp_path, chunk):
    from tests.toys import Toy, scene, stream  # noqa: PLC0415

    run = stream(tmp_path / "a.zarr", scene(90, 100), Toy(), chunk=chunk)
    run.run(Window(0, 0, chunk, 100))
    there = run.cube.finished()
    assert there
    assert mend(SpectralCube.open(run.cube.uri, "r+")) == []
    assert run.cube.finished() == there
    # Of chunks of 30 the level of 4 is made at the end.
    assert set(CubeView.open(run.cube.uri).levels) == ({1, 2, 4} if chunk == 32 else {1, 2})


def test_the_doctor_says_what_no_reader_would(tmp_path, command):
    cut(tmp_path / "a.zarr")
    make(tmp_path / "b.zarr", settings={"model": "another"})
    (tmp_path / "a_aux.zarr").rename(tmp_path / "c_aux.zarr")
    (tmp_path / "b_aux.zarr").rename(tmp_path / "a_aux.zarr")
    code, said, _ = command("doctor", tmp_path / "a.zarr")
    assert code == 1
    assert "✗ its chunks" in said
    assert "✗ what lies beside it" in said


def test_a_resume_makes_what_was_lost_again(tmp_path, command, weights):
    from tests.test_mosaic import save, whole  # noqa: PLC0415
    from tests.toys import objects  # noqa: PLC0415

    save(tmp_path / "in.tif", whole() | np.uint8(1))
    small = ("--checkpoint", weights, "--tile", 32, "--overlap", 8, "--chunk", 32)
    words = ("reconstruct", tmp_path / "in.tif", tmp_path / "a.zarr", *small)
    assert command(*words)[0] == 0
    before = {name: objects(tmp_path / name) for name in ("a.zarr", "a_aux.zarr")}
    (tmp_path / "a.zarr/reflectance/0.0.1").unlink()
    code, _, said = command(*words, "--resume")
    assert code == 0, said
    assert before == {name: objects(tmp_path / name) for name in before}


def test_a_cube_resumed_elsewhere_names_each_place(tmp_path, command, weights):
    from tests.test_mosaic import save, whole  # noqa: PLC0415

    save(tmp_path / "in.tif", whole() | np.uint8(1))
    small = ("--checkpoint", weights, "--tile", 32, "--overlap", 8, "--chunk", 32)
    words = ("reconstruct", tmp_path / "in.tif", tmp_path / "a.zarr", *small)
    assert command(*words)[0] == 0
    for batch, made in ((2, [1]), (3, [1, 3]), (4, [1, 3]), (1, [1, 3])):
        if batch in (3, 1):
            (tmp_path / "a.zarr/reflectance/0.0.1").unlink()
        assert command(*words, "--resume", "--batch", batch)[0] == 0
        record = json.loads((tmp_path / "a.run.json").read_text())
        assert [one["batch"] for one in record["environments"]] == made
        assert record["environment"]["batch"] == batch
    code, out, _ = command("verify", tmp_path / "a.zarr", "--json")
    assert code == 0
    assert "there differ batch" in json.loads(out)["compared"]


@FORMATS
@pytest.mark.parametrize("settings", [{"model": "toy"}, {"model": "another"}])
@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("uri", ["{}/a.zarr", "memory:/{}/a.zarr"])
def test_a_run_that_replaces_a_cube_while_it_is_exported_is_told(
    tmp_path, monkeypatch, uri, finished, settings, zarr_format
):
    uri = uri.format(tmp_path)
    about = {"zarr_format": zarr_format, "settings": {"model": "toy"}}
    cube = SpectralCube.open(make(uri, **about).uri)
    parts = exports._parts

    def replaced(cube, window):
        for number, part in enumerate(parts(cube, window)):
            yield part
            if number == 1:
                SpectralCube.remove(uri)
                _made(uri, finished, about | {"settings": settings})

    monkeypatch.setattr(exports, "_parts", replaced)
    with pytest.raises(Refusal, match="no run writes a cube while it is exported or"):
        export(cube, str(tmp_path / "out.npy"))
    assert not list(Path(tmp_path).glob("out*"))
    monkeypatch.setattr(exports, "_parts", parts)
    if finished:
        export(SpectralCube.open(uri), str(tmp_path / "out.npy"))


def test_a_cube_that_was_replaced_since_it_was_opened_is_told(tmp_path):
    uri = str(tmp_path / "a.zarr")
    cube = SpectralCube.open(make(uri).uri)
    SpectralCube.remove(uri)
    make(uri, settings={"model": "another"})
    with pytest.raises(Refusal, match="no run writes"):
        export(cube, str(tmp_path / "out.npy"))


def test_a_report_of_a_cube_that_is_replaced_meanwhile_is_refused(tmp_path, monkeypatch):
    uri = str(tmp_path / "a.zarr")
    make(uri).seal()
    page = reports.cube_report

    def replaced(*given):
        SpectralCube.remove(uri)
        make(uri, settings={"other": 1})
        return page(*given)

    monkeypatch.setattr(reports, "cube_report", replaced)
    with pytest.raises(Refusal, match="no run writes a cube while it is exported or reported"):
        reports.write_report(uri, None, None)
    assert not list(tmp_path.glob("*.html"))


def told(uri):
    """All that an export says of a cube, and its values."""
    cube = SpectralCube.open(uri)
    labels = Labels.of(cube)
    refuse_lost(cube)
    values, _ = cube.read(Window(0, 0, cube.height, cube.width))
    return repr(replace(labels, zarr_format=2)), cube.sealed, values.tobytes()


@FORMATS
@pytest.mark.parametrize("kind", ["gone", "half"])
def test_whatever_a_finished_cube_lost_its_numbers_are_right_or_refused(
    tmp_path, zarr_format, kind
):
    make(tmp_path / "a.zarr", zarr_format=zarr_format, transform=TURNED)
    uri = str(tmp_path / "a.zarr")
    right = told(uri)
    stores = [tmp_path / name for name in ("a.zarr", "a_aux.zarr")]
    files = [p for store in stores for p in sorted(store.rglob("*")) if p.is_file()]
    # Of chunks one an array: another is lost alike.
    files = list(
        {(p.parent, p.name if p.name.endswith(META) else "chunk"): p for p in files}.values()
    )
    refused = 0
    for file in files:
        before = file.read_bytes()
        if kind == "gone":
            file.unlink()
        else:
            file.write_bytes(before[: len(before) // 2])
        try:
            numbers, _, values = told(uri)
            assert (numbers, values) == (right[0], right[2]), file
        except Refusal:
            refused += 1
        for look in (describe_cube, CubeView.open):
            with suppress(Refusal):
                look(uri)
        with suppress(Refusal):
            assert verify_cube(uri, None, with_input=False, sample=0)["faults"], file
        file.write_bytes(before)
    assert 0 < refused < len(files)
    assert told(uri) == right
