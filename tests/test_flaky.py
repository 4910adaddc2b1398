"""Runs on S3 through a proxy that fails: tried again, or ended with the object's name and resumed."""

import re
import sys

import pytest

from flows import cli
from pipeline import remote
from tests.faults.proxy import faulty
from tests.test_cloud import TILING, bucket, checkpoint, copy, raster, same, server  # noqa: F401

PASSING = ["500", "503", "reset", "cut", "stall"]
READ, WRITE = r"GET /.*/in/ortho\.tif", r"PUT /.*a\.zarr/reflectance/0\."


@pytest.fixture(scope="module")
def proxy(server):  # noqa: F811
    with faulty(server) as proxy:
        yield proxy


@pytest.fixture
def place(bucket, proxy, monkeypatch):  # noqa: F811
    """The bucket behind the proxy, and little patience."""
    monkeypatch.setattr(remote, "SILENCE", 1.0)
    monkeypatch.setattr(remote, "BUDGET", 4.0)
    yield bucket
    proxy.heal()


@pytest.fixture
def r2h(monkeypatch, capsys, checkpoint, proxy):  # noqa: F811
    def run(*words, endpoint=True):
        more = ("--endpoint", proxy.address) if endpoint else ()
        words = ("reconstruct", *words, "--checkpoint", checkpoint, *TILING, *more)
        monkeypatch.setattr(sys, "argv", ["r2h", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code or 0, capsys.readouterr().err

    return run


@pytest.fixture
def plain(r2h, raster, tmp_path):  # noqa: F811
    """The undisturbed cube."""
    code, said = r2h(raster, tmp_path / "a.zarr", endpoint=False)
    assert code == 0, said


def test_what_passes_is_tried_again(r2h, plain, raster, tmp_path, place, proxy):  # noqa: F811
    source = copy(raster, place)
    for match in (READ, WRITE):
        proxy.fail(PASSING, match, times=len(PASSING), skip=1)
        code, said = r2h(source, f"{place}/a.zarr", "--overwrite")
        assert code == 0, said
        assert sum(proxy.seen().values()) == len(PASSING)
        same(tmp_path, place)


@pytest.mark.parametrize(
    ("kind", "match"),
    [("500", READ), ("missing", READ), ("expired", WRITE), ("quota", WRITE)],
)
def test_what_lasts_ends_with_the_objects_name_and_goes_on(
    r2h, plain, raster, tmp_path, place, proxy, kind, match  # noqa: F811
):
    source = copy(raster, place)
    proxy.fail([kind], match, times=10**6, skip=6 if match == READ else 2)
    code, said = r2h(source, f"{place}/a.zarr")
    assert code == 1, said
    last = said.splitlines()[-1]
    assert re.search(r"ortho\.tif" if match == READ else r"a\.zarr/reflectance/0\.\d\.\d", last)
    assert "--resume" in last
    proxy.heal()
    code, said = r2h(source, f"{place}/a.zarr", "--resume")
    assert code == 0, said
    same(tmp_path, place)
