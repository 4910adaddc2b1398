"""The laws of DESIGN.md that the engine keeps, with a reconstructor that would betray a breach."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from threading import Event
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from pipeline.blend import weights
from pipeline.chunks import write_chunk
from pipeline.cube import quantise
from pipeline.errors import Refusal, Stopped
from pipeline.grid import TileGrid, Window, regions
from pipeline.noise import noise
from pipeline.plan import Needs, open_chunks, plan
from pipeline.stream import Stream
from pipeline.sums import Sums, Tile
from tests.toys import CAMERA, CLOSURES, ArrayScene, Constant, Toy, objects, scene, stream

FEW = settings(max_examples=6)
"""Of examples that write cubes: each takes half a second."""
SIDES = st.integers(1, 70)
GRIDS = st.sampled_from([(8, 0), (16, 4), (16, 8), (24, 5)])
CHUNKS = st.sampled_from([8, 12, 32])


class Many(Toy):
    """A mean over three fields of noise, and how far apart they put it."""

    noises, spread = 3, True

    def __call__(self, rgb, noise):
        samples = torch.stack([super(Many, self).__call__(rgb, f) for f in noise.split(3, dim=1)])
        return torch.cat([samples.mean(0), samples.std(0)], dim=1)


def whole(path, of, reconstructor, **options):
    """The cube of a scene as one region."""
    run = stream(path, of, reconstructor, **options)
    run.run(Window(0, 0, run.cube.height, run.cube.width))
    return run.cube


def in_memory(of, reconstructor, tile, overlap, seed=0):
    """The ten-line version: whole scene in memory, one tile after the other."""
    grid = TileGrid(of.height, of.width, tile, overlap)
    sums = torch.zeros(3, grid.shape[0] * tile, grid.shape[1] * tile)
    for i, j in np.ndindex(grid.shape):
        window = grid.window((i, j))
        inside = window.intersection(Window(0, 0, of.height, of.width))
        values, valid = of.read(inside)
        fill = values[:, valid].mean(axis=1, dtype=np.float64) if valid.any() else np.zeros(3)
        rgb = np.where(valid, values, fill[:, None, None]).astype(np.float32)
        rgb = np.pad(
            rgb, ((0, 0), (0, tile - valid.shape[0]), (0, tile - valid.shape[1])), "reflect"
        )
        answer = reconstructor(
            torch.from_numpy(rgb)[None], torch.from_numpy(noise(window, 3, seed))[None]
        )[0]
        kernel = np.multiply.outer(weights(grid.rows, i), weights(grid.cols, j))
        sums[:, *window.slices] += answer * torch.from_numpy(kernel)
    return sums[:, : of.height, : of.width].numpy()


@FEW
@given(SIDES, SIDES, GRIDS, CHUNKS, st.integers(0, 5))
def test_equals_the_plain_loop(height, width, grid, chunk, seed):
    of = scene(height, width, seed, share_valid=0.9)
    with tempfile.TemporaryDirectory() as folder:
        cube = whole(Path(folder) / "a.zarr", of, Toy(), grid=grid, chunk=chunk, seed=seed)
        stored = np.asarray(cube._array[:])
    expected = quantise(in_memory(of, Toy(), *grid, seed), of.valid, np.dtype(np.uint16))
    # Batches of one in both, so only a rounding tie could part them.
    assert np.abs(stored.astype(int) - expected.astype(int)).max() <= 1
    assert (stored == 65535).all(axis=0).tolist() == (~of.valid).tolist()


@FEW
@given(SIDES, SIDES, GRIDS, st.integers(1, 3), st.sampled_from(CLOSURES), st.randoms())
def test_partition_changes_no_byte(height, width, grid, factor, closure, random):
    chunk, of = 8, scene(height, width, 1, share_valid=0.8)
    with tempfile.TemporaryDirectory() as folder:
        first, other = Path(folder) / "a.zarr", Path(folder) / "b.zarr"
        asked = {"grid": grid, "batch": 2, "closure": closure}
        whole(first, of, Many(), **asked).seal()
        run = stream(other, of, Many(), **asked, readers=1)
        parts = regions(height, width, chunk, factor * chunk)
        random.shuffle(parts)
        for part in parts:
            run.run(part)
        run.cube.seal()
        assert objects(first) == objects(other)
        assert objects(aux(first)) == objects(aux(other))


@FEW
@given(st.sets(st.integers(0, 11)), st.booleans())
def test_resume_changes_no_byte_and_computes_no_finished_row(lost, twice):
    of = scene(32, 24)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.zarr"
        cube = whole(path, of, Toy())
        before = objects(path)
        for number in lost:
            (path / "reflectance" / f"0.{number // 3}.{number % 3}").unlink()
        toy = Toy()
        run = stream(Path(folder) / "unused.zarr", of, toy)
        object.__setattr__(run, "cube", cube)
        rows = {number // 3 for number in lost}
        needed = {t for r in rows for t in run.grid.covering(Window(8 * r, 0, 8, 24))}
        summed = []
        for _ in range(1 + twice):
            run.run(Window(0, 0, 32, 24), summed.append)
        assert objects(path) == before
        # Runs of rows apart share tiles, so a tile may be computed for each of them.
        assert len(needed) <= toy.tiles == sum(summed) <= len(needed) + 3 * len(rows)


@FEW
@given(SIDES, SIDES, GRIDS, CHUNKS, st.integers(0, 65534))
def test_constant_in_constant_out(height, width, grid, chunk, count):
    with tempfile.TemporaryDirectory() as folder:
        of = scene(height, width)
        cube = whole(Path(folder) / "a.zarr", of, Constant(count * 1e-4), grid=grid, chunk=chunk)
        assert (np.asarray(cube._array[:]) == count).all()


@FEW
@given(SIDES, SIDES, GRIDS, st.sampled_from([np.nan, np.inf, -3e38, 7.0]))
def test_values_under_the_mask_change_no_byte(height, width, grid, garbage):
    of = scene(height, width, 3, share_valid=0.5)
    soiled = ArrayScene(np.where(of.valid, of.values, np.float32(garbage)), of.valid)
    with tempfile.TemporaryDirectory() as folder:
        first, other = Path(folder) / "a.zarr", Path(folder) / "b.zarr"
        whole(first, of, Toy(), grid=grid)
        whole(other, soiled, Toy(), grid=grid)
        assert objects(first) == objects(other)
        assert objects(aux(first)) == objects(aux(other))


@FEW
@given(SIDES, SIDES, GRIDS, st.sampled_from([0.05, 0.5, 1.0]))
def test_what_memory_held_before_changes_no_byte(height, width, grid, share_valid):
    of = scene(height, width, 6, share_valid)

    def soiled(self, shape):
        return torch.full(shape, torch.finfo(torch.float32).max)

    with tempfile.TemporaryDirectory() as folder:
        first, other = Path(folder) / "a.zarr", Path(folder) / "b.zarr"
        whole(first, of, Toy(), grid=grid)
        with patch.object(Sums, "_memory", soiled):
            whole(other, of, Toy(), grid=grid)
        assert objects(first) == objects(other)
        assert objects(aux(first)) == objects(aux(other))


@FEW
@given(st.data())
def test_a_window_is_that_part_of_the_full_cube(data):
    of = scene(50, 40, 4, share_valid=0.9)
    row, col = data.draw(st.integers(0, 49)), data.draw(st.integers(0, 39))
    height, width = data.draw(st.integers(1, 50 - row)), data.draw(st.integers(1, 40 - col))
    place = Window(row, col, height, width)
    with tempfile.TemporaryDirectory() as folder:
        asked = {"closure": data.draw(st.sampled_from(CLOSURES))}
        full = whole(Path(folder) / "a.zarr", of, Toy(), **asked)
        part = whole(Path(folder) / "b.zarr", of, Toy(), place=place, **asked)
        assert (np.asarray(part._array[:]) == np.asarray(full._array[:, *place.slices])).all()
        parts, fulls = part.companion._arrays, full.companion._arrays
        for layer in ("valid", "quality", "closure"):
            assert (np.asarray(parts[layer][:]) == np.asarray(fulls[layer][place.slices])).all()


def test_an_area_keeps_the_values_inside_and_computes_no_tile_outside(tmp_path):
    of, toy = scene(64, 64), Toy()

    def inside(window):
        rows = np.arange(window.row, window.row_stop)[:, None]
        cols = np.arange(window.col, window.col_stop)
        return (rows + cols) < 20

    full = whole(tmp_path / "a.zarr", of, Toy())
    part = whole(tmp_path / "b.zarr", of, toy, area=inside)
    asked = inside(Window(0, 0, 64, 64))
    stored, expected = np.asarray(part._array[:]), np.asarray(full._array[:])
    assert (stored[:, asked] == expected[:, asked]).all()
    assert (stored[:, ~asked] == 65535).all()
    assert toy.tiles < TileGrid(64, 64, 16, 4).rows.count ** 2


def test_the_batch_has_one_shape(tmp_path):
    shapes = set()

    class Watching(Toy):
        def __call__(self, rgb, noise):
            shapes.add((tuple(rgb.shape), tuple(noise.shape)))
            return super().__call__(rgb, noise)

    whole(tmp_path / "a.zarr", scene(40, 50), Watching(), batch=5)
    assert shapes == {((5, 3, 16, 16), (5, 3, 16, 16))}


def test_while_tiles_are_computed_a_matrix_product_has_one_thread(tmp_path):
    def threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    seen = []

    class Watching(Toy):
        def __call__(self, rgb, noise):
            seen.append(threads())
            return super().__call__(rgb, noise)

    with threadpool_limits(3, user_api="blas"):
        whole(tmp_path / "a.zarr", scene(40, 40), Watching())
        assert threads() == {3}
    assert seen
    assert all(found == {1} for found in seen)


def test_a_wholly_masked_scene_needs_no_model_and_is_nodata(tmp_path):
    of, toy = scene(40, 20, share_valid=0.0), Toy()
    cube = whole(tmp_path / "a.zarr", of, toy)
    assert toy.tiles == 0
    assert (np.asarray(cube._array[:]) == 65535).all()
    cube.seal()
    assert cube.sealed


@pytest.mark.parametrize("share_valid", [0.0, 1.0])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("width", [20, 200])
def test_chunks_that_wait_are_bounded_with_and_without_a_mask(
    tmp_path, monkeypatch, share_valid, batch, width
):
    """More chunks than the plan reckons with are never alive at once."""
    alive, most, chunk_of = set(), [], Sums._chunk
    run = stream(tmp_path / "a.zarr", scene(200, width, 0, share_valid), Toy(), batch=batch)

    def opened(self, at):
        alive.add(at)
        most.append(len(alive))
        return chunk_of(self, at)

    def slow_write(self, chunk, *_, **__):
        time.sleep(0.002)
        alive.discard((chunk.window.row // 8, chunk.window.col // 8))

    monkeypatch.setattr(Sums, "_chunk", opened)
    monkeypatch.setattr(Stream, "_write", slow_write)
    run.run(Window(0, 0, 200, width))
    needs = Needs(wavelengths=3, stored_bytes=2, read_bytes=3)
    reckoned = plan(run.grid, run.place, 8, needs).buffer_bytes
    assert not alive
    assert max(most) * 8 * 8 * 3 * 4 <= reckoned


@given(SIDES, SIDES, GRIDS, CHUNKS, st.data())
def test_the_plan_knows_how_many_chunks_are_open(height, width, grid, chunk, data):
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    lattice, window = TileGrid(height, width, *grid), Window(row, col, height - row, width - col)
    sums, most, whole = Sums(lattice, window, chunk, 1), 0, np.ones((grid[0], grid[0]), bool)
    written = 0
    for index in lattice.covering(window):
        place = lattice.window(index).intersection(Window(0, 0, height, width))
        tile = Tile(index, whole[: place.height, : place.width], None, None, False)
        ready = sums.add(tile, torch.zeros(1, grid[0], grid[0]))
        most, written = max(most, len(sums.open) + len(ready)), written + len(ready)
    assert most == open_chunks(lattice, window, chunk)
    assert not sums.open
    assert written == -(-window.height // chunk) * -(-window.width // chunk)


@given(st.integers(20, 300), GRIDS, CHUNKS)
def test_memory_does_not_grow_with_the_height(height, grid, chunk):
    def most(rows):
        return open_chunks(TileGrid(rows, 50, *grid), Window(0, 0, rows, 50), chunk)

    assert most(height) <= (-(-grid[0] // chunk) + 1) * -(-50 // chunk)
    assert most(20 * height) <= (-(-grid[0] // chunk) + 1) * -(-50 // chunk)


@FEW
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
def test_neither_workers_nor_batch_mates_change_a_byte(workers, readers, seed):
    of = scene(60, 50, seed, share_valid=0.9)
    with tempfile.TemporaryDirectory() as folder:
        first, other = Path(folder) / "a.zarr", Path(folder) / "b.zarr"
        whole(first, of, Toy())
        whole(other, of, Toy(), workers=workers, readers=readers)
        assert objects(first) == objects(other)
        assert objects(aux(first)) == objects(aux(other))


def aux(path):
    return path.with_name(f"{path.stem}_aux.zarr")


@pytest.mark.parametrize("after", [1, 7, 12])
def test_stopping_writes_what_is_summed_and_resuming_completes_it(tmp_path, after):
    of, stop, seen = scene(64, 40), Event(), []

    def done(tiles):
        seen.append(tiles)
        if len(seen) == after:
            stop.set()

    run = stream(tmp_path / "a.zarr", of, Toy(), stop=stop)
    with pytest.raises(Stopped):
        run.run(Window(0, 0, 64, 40), done)
    assert len(seen) == after
    # Chunks whose last tile is among those summed, no more and no fewer.
    tiles = run.grid.covering(Window(0, 0, 64, 40))[:after]
    expected = {
        (part.row // 8, part.col // 8)
        for part in regions(64, 40, 8, 8)
        if run.grid.last(part) in tiles
    }
    assert run.cube.finished() == expected
    stop.clear()
    run.run(Window(0, 0, 64, 40))
    for cube in (run.cube, whole(tmp_path / "b.zarr", of, Toy())):
        cube.seal()
    assert objects(tmp_path / "a.zarr") == objects(tmp_path / "b.zarr")
    assert objects(tmp_path / "a_aux.zarr") == objects(tmp_path / "b_aux.zarr")


def test_a_failing_reconstructor_stops_the_run_and_what_is_written_stays(tmp_path):
    of, path = scene(64, 16), tmp_path / "a.zarr"

    class Failing(Toy):
        def __call__(self, rgb, noise):
            if self.tiles == 3:
                raise RuntimeError("lost")
            return super().__call__(rgb, noise)

    run = stream(path, of, Failing())
    with pytest.raises(RuntimeError, match="lost"):
        run.run(Window(0, 0, 64, 16))
    kept = objects(path)
    again = stream(tmp_path / "unused.zarr", of, Toy())
    object.__setattr__(again, "cube", run.cube)
    again.run(Window(0, 0, 64, 16))
    whole(tmp_path / "b.zarr", of, Toy())
    assert len(run.cube.finished()) > 0
    assert kept.items() <= objects(path).items()
    assert objects(path) == objects(tmp_path / "b.zarr")


def test_one_pixel_and_thin_scenes(tmp_path):
    for number, (height, width) in enumerate([(1, 1), (1, 70), (70, 1), (3, 50)]):
        of = scene(height, width)
        cube = whole(tmp_path / f"{number}.zarr", of, Toy())
        expected = quantise(in_memory(of, Toy(), 16, 4), of.valid, np.dtype(np.uint16))
        assert np.abs(np.asarray(cube._array[:]).astype(int) - expected).max() <= 1


def test_decodes_by_the_camera(tmp_path):
    of = ArrayScene(np.full((3, 8, 8), 188, np.uint8), np.ones((8, 8), bool))
    run = stream(tmp_path / "a.zarr", of, Toy())
    object.__setattr__(run, "camera", CAMERA.reading("srgb", 255))
    tile = run._load((0, 0))
    assert np.allclose(tile.rgb, 0.5029, atol=1e-4)


def test_fields_of_noise_are_those_of_the_samples(tmp_path):
    run = stream(tmp_path / "a.zarr", scene(40, 40), Many(), seed=5)
    window = run.grid.window((1, 2))
    expected = [noise(window, 3, seed=5, sample=k) for k in range(3)]
    assert (run._load((1, 2)).noise == np.concatenate(expected)).all()


def test_spread_is_no_part_of_the_cube(tmp_path):
    class Bare(Many):
        spread = False

        def __call__(self, rgb, noise):
            return super().__call__(rgb, noise)[:, :3]

    of = scene(40, 50, share_valid=0.9)
    for name, toy in (("a", Many()), ("b", Bare())):
        whole(tmp_path / f"{name}.zarr", of, toy)
    assert objects(tmp_path / "a.zarr") == objects(tmp_path / "b.zarr")


class Odd(Toy):
    def __call__(self, rgb, noise):
        return super().__call__(rgb, noise)[:, :1]


def test_what_answers_must_fit_its_cube(tmp_path):
    of = scene(20, 20)
    run = stream(tmp_path / "a.zarr", of, Odd())
    with pytest.raises(Refusal, match="answers fit"):
        run.run(Window(0, 0, 20, 20))
    other = Toy()
    other.wavelengths = tuple(nm / 1000 for nm in run.cube.wavelengths)
    with pytest.raises(Refusal, match="wavelengths fit"):
        replace(run, reconstructor=other)


def test_a_chunk_is_written_after_all_that_belongs_to_it(tmp_path):
    run = stream(tmp_path / "a.zarr", scene(20, 24), Many(), chunk=8)
    chunks, aux = [], tmp_path / "a_aux.zarr"

    def watched(array, at, values):
        row, col = at
        for name in ("valid", "quality", "closure"):
            assert (aux / name / f"{row}.{col}").exists(), name
        for name in ("uncertainty", "overview_2", "seam", "census"):
            key = f"{row}.{col}.0" if name in ("seam", "census") else f"0.{row}.{col}"
            assert (aux / name / key).exists(), name
        chunks.append(at)
        write_chunk(array, at, values)

    with patch("pipeline.cube.write_chunk", watched):
        run.run(Window(0, 0, 20, 24))
    assert sorted(chunks) == list(np.ndindex(3, 3))


def test_pixels_that_are_not_asked_for_are_seen_all_the_same(tmp_path):
    of, asked = scene(20, 24), np.random.default_rng(1).random((20, 24)) < 0.5
    plain = whole(tmp_path / "a.zarr", of, Toy())
    part = whole(tmp_path / "b.zarr", of, Toy(), area=lambda window: asked[window.slices])
    (values, _), (found, valid) = (c.read(Window(0, 0, 20, 24)) for c in (plain, part))
    np.testing.assert_array_equal(valid, asked)
    np.testing.assert_array_equal(found[:, asked], values[:, asked])
    flags = [np.asarray(cube.companion.group["quality"]) for cube in (plain, part)]
    np.testing.assert_array_equal(flags[1], np.where(asked, flags[0], 0))
    assert not (flags[1] & 8).any()  # nothing was filled
