"""Only what is known for R2H's is replaced, whenever its creation or deletion was cut short."""

import fcntl
import json
from unittest import mock

import fsspec
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import _local

from flows.reconstruct import prepare
from pipeline import place, store
from pipeline.companion import Companion
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal
from pipeline.place import is_free
from tests.cubes import make
from tests.test_mosaic import save, whole
from tests.toys import objects

FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])
HOWS = [(2, "--resume"), (3, "--resume"), (2, "--overwrite"), (3, "--no-sidecars")]
SMALL = ("--tile", 32, "--overlap", 8, "--chunk", 32)


def after(name, *calls):
    """Cut short after so many calls, each gone on with in two ways of four."""
    cuts = [(n, HOWS[(i + k) % 4]) for i, n in enumerate(calls) for k in (0, 2)]
    return pytest.mark.parametrize((name, "how"), cuts)


class KilledError(Exception):
    """Raised in place of what a process that is gone would have done, and ever after."""


def killed_after(monkeypatch, calls, *places):
    """Let a number of calls of functions of these places be, and end at each one that follows."""
    left = [calls]

    def until(function):
        def call(*words, **more):
            left[0] -= 1
            if left[0] < 0:
                raise KilledError
            return function(*words, **more)

        return call

    for owner, name in places:
        monkeypatch.setattr(owner, name, until(getattr(owner, name)))


def field(path, axes=("y", "x"), **about):
    """A store that somebody else made, with names that a cube has too."""
    values = np.ones((2, 5, 6)[-len(axes) :])
    coords = {"y": np.arange(5.0), "x": np.arange(6.0)}
    xr.Dataset({"reflectance": (axes, values)}, coords).to_zarr(path, **about)


def begun(path):
    zarr.create_group(path, zarr_format=2).create_array("wavelength", shape=(3,), dtype="f8")


def files(path):
    for axis in "xy":
        (path / axis).mkdir(parents=True)
        np.save(path / axis / "0001.npy", np.arange(3))


def download(path):
    path.mkdir()
    (path / "film.partial").write_bytes(b"half of it")


OTHERS = {
    "zarr 3": lambda path: field(path, zarr_format=3, consolidated=False),
    "zarr 2": lambda path: field(path, zarr_format=2, consolidated=False),
    "time": lambda path: field(path, ("time", "y", "x"), zarr_format=3, consolidated=False),
    "begun": begun,
    "empty group": lambda path: zarr.create_group(path, zarr_format=3),
    "attributes": lambda path: (path.mkdir(), (path / ".zattrs").write_text("[1]")),
    "files": files,
    "download": download,
    "file": lambda path: path.write_text("precious"),
}


@pytest.fixture
def words(tmp_path, weights):
    """The command that makes a small cube, `a.zarr`."""
    source = save(tmp_path / "in.tif", whole() | np.uint8(1))
    return ("reconstruct", source, tmp_path / "a.zarr", "--checkpoint", weights, *SMALL)


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_what_others_made_is_never_replaced(tmp_path, command, words, other):
    other(tmp_path / "a.zarr")
    (tmp_path / "a.json").write_text('{"note": "estimated from RGB, not measured"}')
    before = objects(tmp_path)
    for option in ("--overwrite", "--resume", "--no-sidecars"):
        code, _, said = command(*words, option)
        assert code == 2
        assert "elete it yourself" in said
        assert "--overwrite" not in said
    with pytest.raises(Refusal, match="only a cube"):
        SpectralCube.remove(str(tmp_path / "a.zarr"))
    with pytest.raises(Refusal) as told:
        SpectralCube.open(str(tmp_path / "a.zarr"))
    assert "--overwrite" not in str(told.value)
    assert objects(tmp_path) == before


@FORMATS
@pytest.mark.parametrize("part", [{"wavelength": 1}, {"x": slice(2, 9)}, {}])
def test_what_others_derived_from_a_cube_is_never_replaced(
    tmp_path, command, words, zarr_format, part
):
    words = (*words, "--zarr-format", zarr_format)
    assert command(*words)[0] == 0
    derived = tmp_path / "b.zarr"
    with xr.open_zarr(tmp_path / "a.zarr") as cube:
        cube.isel(part).to_zarr(derived, zarr_format=zarr_format, consolidated=zarr_format == 2)
    before = objects(tmp_path)
    code, _, said = command(*words[:2], derived, *words[3:], "--overwrite")
    assert code == 2
    assert "b.zarr without" in said
    assert "Delete it yourself" in said
    assert objects(tmp_path) == before
    assert command(*words, "--overwrite")[0] == 0


def test_a_cube_without_its_companion_is_gone_on_with_when_that_is_back(tmp_path, command, words):
    assert command(*words)[0] == 0
    (tmp_path / "a_aux.zarr").rename(tmp_path / "away")
    for option in ("--resume", "--overwrite"):
        code, _, said = command(*words, option)
        assert code == 2
        assert "a_aux.zarr" in said
        assert "elete" in said
        assert "--overwrite" not in said
    (tmp_path / "away").rename(tmp_path / "a_aux.zarr")
    assert command(*words, "--resume")[0] == 0


def test_what_others_put_in_the_companions_place_is_never_replaced(tmp_path, command, words):
    (tmp_path / "a_aux.zarr/seam").mkdir(parents=True)
    (tmp_path / "a_aux.zarr/.zgroup").write_text('{"zarr_format": 2}')
    before = objects(tmp_path)
    for option in ("--overwrite", "--resume"):
        code, _, said = command(*words, option)
        assert code == 2, said
        assert "a_aux.zarr. Delete it yourself" in said
    assert objects(tmp_path / "a_aux.zarr") == objects_of(before, "a_aux.zarr/")


def objects_of(all_of_them, folder):
    return {
        name.removeprefix(folder): data
        for name, data in all_of_them.items()
        if name.startswith(folder)
    }


@after("writes", 0, 1, 2, 9, 30)
def test_a_creation_that_was_cut_short_is_begun_again(
    tmp_path, command, words, monkeypatch, writes, how
):
    words = (*words, "--zarr-format", how[0])
    with monkeypatch.context() as patch:
        killed_after(patch, writes + 1, (store, "move_in"), (_local, "_put"))
        with pytest.raises(KilledError):
            prepare(job_of(words))
    root = tmp_path / "a.zarr"
    assert bool(writes) == root.exists()
    assert is_free(str(root))
    code, _, said = command(*words, how[1])
    assert code == 0, said
    alone = tmp_path / "alone"
    alone.mkdir()
    assert command(*words[:2], alone / "a.zarr", *words[3:])[0] == 0
    for name in ("a.zarr", "a_aux.zarr"):
        assert objects(tmp_path / name) == objects(alone / name)


def job_of(words):
    from flows.job import open_job  # noqa: PLC0415
    from flows.settings import ReconstructSettings  # noqa: PLC0415

    names = [str(word).removeprefix("--").replace("-", "_") for word in words[3::2]]
    more = dict(zip(names, words[4::2], strict=True))
    return open_job(ReconstructSettings(source=str(words[1]), destination=str(words[2]), **more))


@after("deletions", 0, 1, 2, 5, 8, 11, 16)
def test_a_deletion_that_was_cut_short_is_gone_on_with(
    tmp_path, command, words, monkeypatch, deletions, how
):
    words = (*words, "--zarr-format", how[0])
    assert command(*words)[0] == 0
    before = objects(tmp_path / "a.zarr") | objects(tmp_path / "a_aux.zarr")
    with monkeypatch.context() as patch:
        unlink, tree, folder = (
            (place.Path, "unlink"),
            (place.shutil, "rmtree"),
            (place.Path, "rmdir"),
        )
        killed_after(patch, deletions, unlink, tree, folder)
        with pytest.raises(KilledError):
            SpectralCube.remove(str(tmp_path / "a.zarr"))
    assert is_free(str(tmp_path / "a.zarr"))
    code, _, said = command(*words, how[1])
    assert code == 0, said
    assert objects(tmp_path / "a.zarr") | objects(tmp_path / "a_aux.zarr") == before


@FORMATS
def test_a_bucket_loses_its_mark_last(monkeypatch, zarr_format):
    uri = f"memory://place-{zarr_format}/a[1].zarr"
    fs = fsspec.filesystem("memory")
    make(uri, zarr_format=zarr_format)
    with mock.patch.object(type(fs), "_rm", autospec=True, side_effect=type(fs)._rm) as rm:
        SpectralCube.remove(uri)
    last = rm.call_count - 1
    assert last > 16
    for calls in (*range(8), *range(8, last - 4, 7), *range(last - 4, last + 1)):
        make(uri, zarr_format=zarr_format)
        with monkeypatch.context() as patch:
            killed_after(patch, calls, (type(fs), "_rm"))
            try:
                SpectralCube.remove(uri)
            except KilledError:
                assert is_free(uri)
        SpectralCube.remove(uri) if fs.exists(uri) else None
        assert not fs.exists(uri)
        assert not fs.exists(Companion.uri(uri))


def test_an_empty_folder_is_free_and_stays_where_it_is_linked(tmp_path, command, words):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a.zarr").symlink_to(tmp_path / "elsewhere")
    for option in ("--resume", "--overwrite"):
        code, _, said = command(*words, option)
        assert code == 0, said
        assert (tmp_path / "a.zarr").is_symlink()
        assert (tmp_path / "elsewhere/.zmetadata").exists()


@FORMATS
def test_a_finished_cube_says_nothing_of_its_beginning(tmp_path, zarr_format):
    make(tmp_path / "a.zarr", zarr_format=zarr_format)
    for data in objects(tmp_path).values():
        assert b"r2h_begun" not in data
    name = {2: ".zattrs", 3: "zarr.json"}[zarr_format]
    assert "r2h" in json.dumps(json.loads((tmp_path / "a.zarr" / name).read_text()))


def test_a_lock_of_others_is_left_alone(tmp_path, command, words):
    (tmp_path / "a.lock").write_text("precious")
    with (tmp_path / "a.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, _, said = command(*words)
    assert code == 0, said
    assert (tmp_path / "a.lock").read_text() == "precious"
    assert not (tmp_path / "a.r2h.lock").exists()


@pytest.mark.parametrize("text", ["precious", "[]", "{}", '{"cube": 1}', "null", b"\xff", None])
def test_a_record_of_others_is_left_alone(tmp_path, command, words, text):
    place = tmp_path / "a.run.json"
    if text is None:
        place.mkdir()
    else:
        place.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = objects(tmp_path)
    for option in ("--overwrite", "--resume", "--no-sidecars"):
        code, _, said = command(*words, option)
        assert code == 2, said
        assert "a.run.json. Move it" in said
    assert objects(tmp_path) == before
