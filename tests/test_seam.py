"""The seam certificate, against slow and plain versions of what it says."""

import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.companion import Companion
from pipeline.cube import CubeSpec, SpectralCube
from pipeline.errors import Refusal
from pipeline.grid import Axis, TileGrid, Window, regions
from pipeline.seam import BESIDE, STEP, Lines, certificate, disagreement, empty, gradients, meetings
from pipeline.sums import Chunk, Met
from tests.toys import WAVELENGTHS, Constant, Toy, scene, stream

FEW = settings(max_examples=10)
"""Of examples that write cubes: each takes half a second."""
SIDES = st.integers(1, 90)
GRIDS = st.sampled_from([(16, 4), (16, 8), (24, 5), (64, 3), (16, 0)])


class Stepped:
    """Answers each tile with a value of its own: the worst seams there can be."""

    wavelengths = WAVELENGTHS
    noises = 0
    spread = False

    def __init__(self):
        self.values = {}

    def __call__(self, rgb, noise):
        # The tile is known by its content, as a reconstructor is not told where it is.
        value = self.values.setdefault(rgb.numpy().tobytes(), 0.1 * (1 + len(self.values)))
        return torch.full_like(rgb, value)


def covers(grid, row, col):
    return grid.covering(Window(row, col, 1, 1))


@given(SIDES, SIDES, GRIDS)
def test_tiles_meet_where_exactly_two_cover_a_pixel(height, width, grid):
    lattice = TileGrid(height, width, *grid)
    inside = Window(0, 0, height, width)
    met = np.zeros((height, width), int)
    for index in lattice.covering(inside):
        for meeting in meetings(lattice, index):
            if seen := meeting.intersection(inside):
                met[seen.slices] += 1
                assert covers(lattice, seen.row, seen.col)[-1] == index
    two = [[len(covers(lattice, r, c)) == 2 for c in range(width)] for r in range(height)]
    assert (met == np.array(two)).all()


@given(st.integers(1, 300), GRIDS)
def test_lines_are_at_ramps_and_beside_them_in_one_tile(size, grid):
    axis = TileGrid(size, 8, *grid).rows
    lines = Lines.of(axis)
    ramps = [(axis.start(i), axis.start(i) + axis.overlap) for i in range(1, axis.count)]
    assert set(lines.border) == {end for ramp in ramps for end in ramp}
    for line in lines.inside:
        alone = [axis.covering(p, p + 1) for p in (int(line) - 1, int(line))]
        assert alone[0] == alone[1]
        assert len(alone[0]) == 1
        assert any(s - line in BESIDE or line - e in BESIDE for s, e in ramps)


@FEW
@given(SIDES, SIDES, GRIDS, st.sampled_from([8, 12, 32]), st.integers(1, 3))
def test_the_certificate_does_not_depend_on_the_partition(height, width, grid, chunk, factor):
    of = scene(height, width, 2, share_valid=0.9)
    totals = []
    with tempfile.TemporaryDirectory() as folder:
        for name, region in (("a", factor * chunk), ("b", 96)):
            run = stream(Path(folder) / f"{name}.zarr", of, Toy(), grid=grid, chunk=chunk)
            for part in regions(height, width, chunk, region if name == "a" else 96):
                run.run(part)
            totals.append(run.cube.companion.seam())
    assert (totals[0] == totals[1]).all()


def test_it_says_by_how_much_tiles_differ(tmp_path):
    of = scene(112, 112)
    run = stream(tmp_path / "a.zarr", of, Stepped(), grid=(64, 16), chunk=40)
    run.run(Window(0, 0, 112, 112))
    # Tiles in order are 0.1, 0.2, 0.3 and 0.4, so neighbours differ by 0.1 across and 0.2 down.
    found = certificate(run.cube.companion.seam())
    across = down = 2 * (48 // STEP) * (16 // STEP)
    assert found["compared_in_overlaps"] == 3 * (across + down)
    assert found["disagreement_mean"] == pytest.approx((0.1 + 0.2) / 2, abs=1e-4)
    assert 0.2 <= found["disagreement_p99"] <= 0.2 * 2**0.25
    assert found["steps_at_borders"] > 0
    # Inside a tile nothing changes, so there is nothing to divide by.
    assert found["gradient_ratio"] is None


def test_equal_tiles_have_no_seam(tmp_path):
    run = stream(tmp_path / "a.zarr", scene(60, 60), Constant(0.3), grid=(16, 4))
    run.run(Window(0, 0, 60, 60))
    found = certificate(run.cube.companion.seam())
    assert found["disagreement_mean"] == found["disagreement_p99"] == 0
    assert found["compared_in_overlaps"] > 0


class Pointwise:
    """Answers a pixel by that pixel alone: tiles cannot disagree."""

    wavelengths = WAVELENGTHS
    noises = 0
    spread = False

    def __call__(self, rgb, noise):
        return rgb * 0.5


def test_borders_that_do_not_show_have_a_ratio_near_one(tmp_path):
    run = stream(tmp_path / "a.zarr", scene(400, 400), Pointwise(), grid=(64, 16), chunk=64)
    run.run(Window(0, 0, 400, 400))
    found = certificate(run.cube.companion.seam())
    assert found["disagreement_p99"] <= 1e-4
    assert found["gradient_ratio"] == pytest.approx(1, abs=0.03)
    assert found["energy_ratio"] == pytest.approx(1, abs=0.05)


def test_borders_that_show_have_a_high_ratio(tmp_path):
    class Uneven(Stepped):
        def __call__(self, rgb, noise):
            return super().__call__(rgb, noise) % 0.7 + 0.01 * rgb

    run = stream(tmp_path / "a.zarr", scene(200, 200), Uneven(), grid=(64, 0), chunk=48)
    run.run(Window(0, 0, 200, 200))
    assert certificate(run.cube.companion.seam())["gradient_ratio"] > 5


def test_masked_pixels_are_not_compared(tmp_path):
    run = stream(tmp_path / "a.zarr", scene(60, 60, share_valid=0), Toy(), grid=(16, 4))
    run.run(Window(0, 0, 60, 60))
    found = certificate(run.cube.companion.seam())
    assert (run.cube.companion.seam() == 0).all()
    assert found["disagreement_mean"] is None


@given(st.lists(st.tuples(st.floats(0, 6.5), st.floats(0, 6.5)), min_size=1, max_size=40))
def test_the_percentile_is_that_of_the_differences_within_a_bin(pairs):
    one, other = (np.array(side, np.float32)[None, None] for side in zip(*pairs, strict=True))
    known = np.ones(one.shape[1:], bool)
    found = certificate(empty() + disagreement(one, other, known))
    apart = np.abs(np.rint(one * 1e4) - np.rint(other * 1e4)).ravel().astype(float)
    exact = np.sort(apart)[int(np.ceil(0.99 * apart.size)) - 1]
    assert found["disagreement_mean"] == pytest.approx(apart.mean() * 1e-4, abs=1e-9)
    assert exact <= round(found["disagreement_p99"] * 1e4) <= exact * 2**0.25 + 1


def test_a_foreign_companion_is_left_alone(tmp_path):
    (tmp_path / "a_aux.zarr").mkdir()
    (tmp_path / "a_aux.zarr" / "letter").write_text("keep")
    with pytest.raises(Refusal, match="companion"):
        SpectralCube.create(str(tmp_path / "a.zarr"), CubeSpec(8, 8, WAVELENGTHS))
    assert not (tmp_path / "a.zarr").exists()
    assert (tmp_path / "a_aux.zarr" / "letter").read_text() == "keep"


def test_a_cube_without_its_companion_opens_and_is_not_written(tmp_path):
    cube = SpectralCube.create(str(tmp_path / "a.zarr"), CubeSpec(8, 8, WAVELENGTHS))
    Companion.remove(cube.uri)
    opened = SpectralCube.open(cube.uri)
    with pytest.raises(Refusal, match="companion"):
        opened.store(Window(0, 0, 8, 8), np.zeros((3, 8, 8), np.uint16))


def test_names_that_differ_in_their_ending_have_a_companion_each():
    assert Companion.uri("s3://b/x.zarr/") == "s3://b/x_aux.zarr"
    assert Companion.uri("s3://b/x") == "s3://b/x_aux"


def test_what_a_kill_left_of_a_companion_is_replaced(tmp_path):
    (tmp_path / "a_aux.zarr" / "seam").mkdir(parents=True)
    (tmp_path / "a_aux.zarr" / ".zattrs").write_text('{"r2h_companion": "0"}')
    cube = SpectralCube.create(str(tmp_path / "a.zarr"), CubeSpec(8, 8, WAVELENGTHS))
    assert (cube.companion.seam() == 0).all()


def test_a_companion_of_another_shape_is_refused(tmp_path):
    cube = SpectralCube.create(str(tmp_path / "a.zarr"), CubeSpec(8, 8, WAVELENGTHS, chunk=4))
    Companion.create(cube.uri, CubeSpec(8, 8, WAVELENGTHS))
    with pytest.raises(Refusal, match="companion holds"):
        _ = SpectralCube.open(cube.uri).companion


def test_not_a_number_is_refused_when_it_is_stored(tmp_path):
    class Broken(Toy):
        def __call__(self, rgb, noise):
            answer = super().__call__(rgb, noise)
            answer[:, :, 14] = torch.nan if self.tiles % 2 else 1.0
            return answer

    run = stream(tmp_path / "a.zarr", scene(60, 60), Broken(), grid=(16, 4))
    with pytest.raises(Refusal, match="reflectance is finite"):
        run.run(Window(0, 0, 60, 60))


@pytest.mark.parametrize("seed", range(3))
def test_steps_are_those_of_pixels_that_are_both_known(seed):
    random, window = np.random.default_rng(seed), Window(16, 24, 40, 44)
    values = random.integers(0, 9999, (3, 40, 44)).astype(np.uint16)
    known = random.random((40, 44)) < 0.8
    values[:, ~known] = 65535
    rows, cols = (Lines.of(Axis(size, 16, 4)) for size in (90, 100))
    found = gradients(values, known, window, rows, cols)
    down, right = rows.within(16, 56), cols.within(24, 68)
    expected = []
    for lines, across in ((down.border, right.border), (down.inside, right.inside)):
        steps = [
            int(values[k, p, c]) - int(values[k, p - 1, c])
            for k, p, c in product(range(3), lines.tolist(), range(0, 44, STEP))
            if known[p, c] and known[p - 1, c]
        ] + [
            int(values[k, r, p]) - int(values[k, r, p - 1])
            for k, r, p in product(range(3), range(0, 40, STEP), across.tolist())
            if known[r, p] and known[r, p - 1]
        ]
        expected += [len(steps), sum(map(abs, steps)), sum(step**2 for step in steps)]
    assert found[2:8].tolist() == expected
    assert expected[0] > 0 < expected[3]


def test_tiles_are_compared_where_pixels_are_known():
    random, known = np.random.default_rng(0), np.array([True, False] * 20)
    kernel = torch.full((40,), 0.25)
    one, other = (torch.from_numpy(random.random((3, 40), np.float32)) for _ in range(2))
    met = Met(one, other * 0.75, kernel, known)
    chunk = Chunk(Window(0, 0, 1, 1), one, known, one.numpy(), known, [met])
    apart = np.abs(np.rint(one.numpy() * 1e4) - np.rint(other.numpy() * 1e4))[:, known]
    assert chunk.disagreement()[:2].tolist() == [apart.size, int(apart.sum())]
