"""What is planned is what is done."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ahead import cores
from pipeline.errors import Refusal
from pipeline.grid import TileGrid, Window, regions
from pipeline.plan import HALO, IDLE, Needs, Parts, machine_memory, plan, planned, refuse_too_big
from tests.toys import Toy, scene, stream

NEEDS = Needs(wavelengths=31, stored_bytes=2, read_bytes=3)
SIZES = st.integers(1, 3000)


@given(SIZES, SIZES, st.sampled_from([(16, 4), (64, 16)]), st.sampled_from([8, 64]), st.data())
def test_regions_share_out_the_cube_and_halos_stay_small(height, width, grid, chunk, data):
    lattice = TileGrid(height, width, *grid)
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    place = Window(row, col, height - row, width - col)
    most = data.draw(st.integers(1, 40))
    parts = Parts(most, least=data.draw(st.integers(1, most)))
    work = plan(lattice, place, chunk, NEEDS, parts)
    covered = np.zeros((place.height, place.width), np.int8)
    for part in work.regions:
        covered[part.slices] += 1
        assert part.row % chunk == part.col % chunk == 0
    assert (covered == 1).all()
    assert work.needed == lattice.count(place)
    assert work.tiles == sum(lattice.count(p.shifted(row, col)) for p in work.regions)
    assert work.halo <= (HALO if len(work.regions) > parts.least else IDLE)
    # Two bytes a value and a third of that for overviews, and four of layers.
    assert work.disk_bytes == place.height * place.width * (62 + 21 + 5)


@given(st.integers(200, 3000), st.integers(8, 400))
def test_narrow_memory_makes_narrow_regions(width, columns):
    lattice, place = TileGrid(300, width, 16, 4), Window(0, 0, 300, width)
    one = plan(lattice, Window(0, 0, 300, 8), 8, NEEDS).buffer_bytes
    memory = one * columns / 8
    work = plan(lattice, place, 8, NEEDS, memory=memory)
    assert work.buffer_bytes <= memory or work.regions[0].width == 8
    assert sum(part.height * part.width for part in work.regions) == 300 * width


def test_one_region_where_nothing_forces_more():
    assert len(plan(TileGrid(9000, 700, 16, 4), Window(0, 0, 9000, 700), 8, NEEDS).regions) == 1


def test_as_many_regions_as_are_asked_for_where_halos_allow():
    lattice, place = TileGrid(9000, 60, 16, 4), Window(0, 0, 9000, 60)
    assert len(plan(lattice, place, 8, NEEDS, Parts(16)).regions) == 16


@pytest.mark.parametrize(("side", "workers", "regions"), [(2048, 2, 2), (2048, 8, 3), (4096, 2, 2)])
def test_no_worker_idles_for_the_sake_of_a_small_halo(side, workers, regions):
    lattice, place = TileGrid(side, side, 256, 32), Window(0, 0, side, side)
    work = plan(lattice, place, 256, NEEDS, Parts(4 * workers, least=workers))
    assert len(work.regions) == regions
    assert HALO < work.halo <= IDLE
    assert work.read_bytes == work.tiles * 256**2 * NEEDS.read_bytes  # what is shared, each time
    assert len(plan(lattice, place, 256, NEEDS, Parts(4 * workers)).regions) == 1


def test_the_buffer_does_not_grow_with_the_height():
    short, tall = (
        plan(TileGrid(height, 60, 16, 4), Window(0, 0, height, 60), 8, NEEDS)
        for height in (100, 9000)
    )
    assert tall.buffer_bytes == short.buffer_bytes


def test_a_chunk_larger_than_the_scene_is_there_once_and_stored_whole():
    lattice, scene = TileGrid(500, 600, 256, 32), Window(0, 0, 500, 600)
    held, of_level = 500 * 600 * NEEDS.open_bytes, 500 * 600 * (31 * 2 // 4 + 5)
    for chunk in (1024, 2048, 4096):
        needed = 2 * held + chunk * chunk * 31 * 2
        made = plan(lattice, scene, chunk, NEEDS).buffer_bytes
        assert made == pytest.approx(needed + of_level, rel=0.01)


def test_the_tiles_planned_are_the_tiles_computed(tmp_path):
    of, toy = scene(90, 70), Toy()
    run = stream(tmp_path / "a.zarr", of, toy)
    cut = list(plan(run.grid, run.place, 8, NEEDS, Parts(5)).regions)
    work = planned(run.grid, run.place, 8, NEEDS, cut)
    for part in work.regions:
        run.run(part)
    assert toy.tiles == work.tiles


def test_what_does_not_fit_is_refused():
    work = plan(TileGrid(100, 60, 16, 4), Window(0, 0, 100, 60), 8, NEEDS)
    refuse_too_big(work, 1e9, 1e9, work.disk_bytes)
    with pytest.raises(Refusal, match="disk"):
        refuse_too_big(work, 1e9, 1e9, work.disk_bytes - 1)
    with pytest.raises(Refusal, match=r"needs 1\.00 GB; got 0\.90 GB"):
        refuse_too_big(work, 1e9, 0.9e9, 1e12)


def test_memory_is_the_containers_where_that_is_less(monkeypatch):
    whole = machine_memory()
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    monkeypatch.setattr(Path, "read_text", lambda _: "1000\n")
    assert machine_memory() == 1000 < whole
    monkeypatch.setattr(Path, "read_text", lambda _: "max\n")
    assert machine_memory() == whole


def test_cores_are_the_containers_where_those_are_fewer(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64))
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    for text, count in [("400000 100000\n", 4), ("250000 100000\n", 3), ("50000 100000\n", 1)]:
        monkeypatch.setattr(Path, "read_text", lambda _, text=text: text)
        assert cores() == count
    for text in ("max 100000\n", "9000000 100000\n"):
        monkeypatch.setattr(Path, "read_text", lambda _, text=text: text)
        assert cores() == 64


@pytest.mark.parametrize("region", [None, 16384])
def test_the_docs_reckon_with_what_the_plan_says(region: int | None) -> None:
    side = 200_000
    place, grid = Window(0, 0, side, side), TileGrid(side, side, 256, 32)
    if region:
        cut = regions(side, side, 256, region)
        made, name = planned(grid, place, 256, NEEDS, cut), str(region)
    else:
        made = plan(grid, place, 256, NEEDS, Parts(16))
        name = "whole width, 16 high (as by Prefect)"
    facts = [f"{len(made.regions):,}", f"{made.tiles:,}", f"{made.halo:.1%}".replace("%", " %")]
    row = " | ".join([name, *facts, f"{made.buffer_bytes / 1e9:.2f} GB"])
    text = (Path(__file__).parents[1] / "docs" / "scaling.md").read_text()
    assert f"| {row} |" in text
    assert f"| {grid.count(place):,} |" in text
    assert f"| {NEEDS.disk_bytes} bytes |" in text
