"""The benchmarks run: every contender at a tiny size gives a cube, and tables are kept."""

import importlib.util

import numpy as np
import pytest
import torch
import zarr

from benchmarks import contenders, ours
from benchmarks.__main__ import TABLES
from benchmarks.case import Case
from benchmarks.harness import Run, Sample, Series, interleaved, measure, ratio
from benchmarks.networks import Light, counts, reconstructor
from benchmarks.options import Options
from benchmarks.rivals import framed
from benchmarks.scenes import Repeated, camera, photograph
from benchmarks.seams import joined
from benchmarks.tables import HEAD, Table, keep, load, number, render
from model import NetworkConfig, R2HDiff
from pipeline.grid import Axis, Window

CASE = Case("light", size=200, tile=64, overlap=16)


def work(job, case, folder):
    """A job without the fresh process."""
    steps = job(case, folder)
    next(steps)
    next(steps)
    with pytest.raises(StopIteration) as end:
        next(steps)
    return end.value.value


def expected(case):
    """The light network needs no tiles."""
    scene = photograph(case.size)
    lens = camera(Light.wavelengths)
    values, _ = scene.read(Window(0, 0, case.size, case.size))
    rgb = lens.decode(values)
    return np.tensordot(Light()._matrix.numpy(), rgb, 1)


@pytest.mark.parametrize(
    ("job", "name", "needs"),
    [
        (ours.pipeline, "cube.zarr/reflectance", "zarr"),
        (contenders.loop, "cube.zarr", "zarr"),
        (contenders.dask, "cube.zarr", "dask"),
        (contenders.monai, "cube.zarr", "monai"),
        (contenders.monai_zarr, "merged.zarr", "monai"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_every_contender_gives_the_same_cube(job, name, needs, tmp_path):
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} comes with the extra bench")
    facts = work(job, CASE, tmp_path)
    array = zarr.open_array(tmp_path / name, mode="r")
    assert array.dtype == np.uint16
    assert array.chunks[-3:] == (31, 256, 256)
    got = np.asarray(array[...]).reshape(31, CASE.size, CASE.size) * 1e-4
    np.testing.assert_allclose(got, expected(CASE), atol=1.01e-4)
    assert facts["seam"] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("network", ["constant", "texture"])
def test_zarr_alone_writes_what_the_pipeline_writes(network, tmp_path):
    case = Case(network, size=300, tile=64, overlap=16)
    for folder, job in (("a", ours.pipeline), ("b", ours.zarr_alone)):
        (tmp_path / folder).mkdir()
        work(job, case, tmp_path / folder)
    chunks = [sorted((tmp_path / x / "cube.zarr/reflectance").glob("0*")) for x in "ab"]
    assert len(chunks[0]) == 4
    assert [c.read_bytes() for c in chunks[0]] == [c.read_bytes() for c in chunks[1]]


@pytest.mark.parametrize(
    "job", [ours.unwritten, ours.model_alone, ours.read, ours.decode, ours.quantising, ours.drawing]
)
def test_stages_run_alone(job, tmp_path):
    work(job, CASE, tmp_path)


def test_a_fresh_process_says_what_it_cost(tmp_path):
    sample = measure(Run("ours.drawing", CASE, cores=1), tmp_path)
    assert isinstance(sample, Sample)
    assert sample.wall > 0
    assert 0 < sample.base <= sample.peak
    assert sample.facts["values"] == 20 * 31 * 64 * 64


def test_what_cannot_run_says_why_and_is_left_out(tmp_path):
    runs = {"mst": Run("engines.alone", Case("mst", engine="eager", tile=64), cores=1)}
    assert "--mst" in interleaved(runs, 2, tmp_path)["mst"].reason


def test_a_mirrored_scene_is_its_image_reflected():
    image = np.arange(18).reshape(3, 2, 3)
    values, valid = Repeated(image, 9, 9).read(Window(1, 2, 6, 7))
    whole = np.pad(image, ((0, 0), (0, 8), (0, 8)), mode="symmetric")
    assert (values == whole[:, 1:7, 2:9]).all()
    assert values.flags.c_contiguous
    assert valid.all()


def test_a_step_where_tiles_join_is_seen():
    axis = Axis(200, 32, 8)
    flat = np.random.default_rng(0).random((2, 200, 200))
    tiled = flat + (np.arange(200) // axis.stride % 2)
    assert joined(flat, axis) == pytest.approx(1, abs=0.1)
    assert joined(tiled, axis) > 1.5


def test_texture_is_stored_without_rounding():
    values = counts(Case("texture", tile=64, overlap=16), 100)
    assert values.flags.c_contiguous
    assert (np.rint(values.astype(np.float32) * np.float32(1e-4) * 1e4) == values).all()


def test_ratio_is_taken_round_by_round():
    assert ratio([2, 20, 9], [1, 10, 3]) == 2
    assert Series([Sample(w, 1, 1, 1, {}) for w in (1, 2, 3)]).spread() == 1


def test_a_table_measured_earlier_is_kept(tmp_path):
    file = tmp_path / "results.json"
    when = "2026-11-29 10:00 UTC; Intel, 2 cores; 1 rounds"
    tables = [Table(title, "Why?", ["", "s"], [["a", "1"]], [], when) for title in "AB"]
    for name, table in zip(("null", "noise"), tables, strict=True):
        keep(name, table, file)
    assert load(file) == {"null": tables[0], "noise": tables[1]}
    page = render(file, list(TABLES)).read_text()
    assert page.startswith(HEAD.strip())
    assert page.index("## A") < page.index("## B")


def test_what_another_processor_found_stays_beside_it(tmp_path):
    file = tmp_path / "results.json"
    for day, processor, found in ((1, "AMD", 3), (2, "Intel", 4), (3, "AMD", 5), (4, "AMD", 6)):
        when = f"2026-11-0{day} 10:00 UTC; {processor}, 2 of 2 cores; 1 rounds; r2h 1"
        keep("bound", Table("A", "Why?", ["s"], [["1"]], [f"**{found}**", "so"], when), file)
    table = load(file)["bound"]
    assert table.notes == ["**6**", "so"]
    assert table.elsewhere == {"Intel": ["2026-11-02: **4**"]}
    assert "- so\n- Intel, 2026-11-02: **4**\n" in table.markdown()


@pytest.mark.parametrize("name", sorted(set(TABLES) - {"tiling"}))
@pytest.mark.parametrize("quick", [True, False])
def test_every_table_is_made_of_its_samples(name, quick, tmp_path, monkeypatch):
    facts = dict.fromkeys(
        ("raw", "stored", "seam", "tiles", "megapixels", "difference", "values"), 2.0
    )
    series = Series([Sample(1.0, 1.0, 100.0, 50.0, facts)] * 3)
    monkeypatch.setattr(Options, "measure", lambda self, runs: dict.fromkeys(runs, series))
    table = TABLES[name](Options(cores=2, rounds=3, scratch=tmp_path, quick=quick))
    assert table.rows
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert f"## {table.title}" in table.markdown()


@pytest.mark.parametrize("name", sorted(set(TABLES) - {"noise", "tiling"}))
def test_a_table_survives_contenders_that_cannot_run(name, tmp_path, monkeypatch):
    absent = Series(reason="not here")
    monkeypatch.setattr(Options, "measure", lambda self, runs: dict.fromkeys(runs, absent))
    table = TABLES[name](Options(cores=1, rounds=1, scratch=tmp_path, quick=True))
    assert "not here" in table.markdown()
    assert {len(row) for row in table.rows} <= {len(table.columns)}


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (12345.6, "12346"), (0.0123456, "0.0123"), (100.0, "100")]
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(("bare", "fields"), [(False, 0), (True, 1)])
def test_the_shipped_model_starts_from_noise_only_where_it_is_compared_bare(bare, fields):
    found = reconstructor(Case(tile=64, bare=bare), photograph(64))
    assert (found.noises, found.spread) == (fields, False)


def test_a_rival_in_our_frame_renders_back_and_learns():
    lens = camera(Light.wavelengths)
    model = R2HDiff(NetworkConfig(), torch.tensor(Light.wavelengths), torch.eye(31))
    rival = framed(model, torch.nn.Conv2d(3, 31, 1))
    seen, rgb = torch.from_numpy(lens.sensitivities)[None], torch.rand(1, 3, 16, 16)
    cube = rival(rgb, seen, torch.zeros(1, 31, 16, 16), 1)
    rendered = torch.einsum("cb,nbhw->nchw", seen[0], cube)
    torch.testing.assert_close(rendered, rgb, atol=1e-5, rtol=0)
    cube.square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in rival.parameters())
