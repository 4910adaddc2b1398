"""`r2h report`: what it says is so, it needs nothing else, and it trusts nothing from outside."""

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from skimage.io import imsave

from flows import cli
from flows.report import input_of, record_of
from pipeline import charts
from pipeline.camera import load_camera, resampled
from pipeline.companion import Companion
from pipeline.cube import CubeSpec, SpectralCube
from pipeline.cube_report import cube_report, input_picture, run_camera
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.light import load_light
from pipeline.report import distinct_pixels
from pipeline.scene import RasterScene
from pipeline.source import known, state
from pipeline.view import CubeView
from tests.beside import add_layers
from tests.test_evaluation_report import rows_of

WAVELENGTHS = tuple(float(nm) for nm in range(400, 701, 10))
SRGB = "8e8f1578781c0b5f729d1825b9cb1d10b86e1a668de8310c19b80c36d03312b3"
HOSTILE = "<script>alert(1)</script><img src=http://evil.example/x>"


@pytest.fixture
def made(tmp_path):
    """A cube of 40 x 60 pixels, its input, and a record whose every text is markup."""
    random = np.random.default_rng(0)
    image = tmp_path / "in.png"
    imsave(image, random.integers(0, 255, (48, 70, 3), np.uint8), check_contrast=False)
    header = RasterScene.open(str(image)).header
    camera = {"name": "srgb", "encoding": "srgb", "white": 255.0, "sensitivities": SRGB}
    camera["illuminant"] = "E"
    settings = {"camera": camera, "input": header, "window": [5, 7, 40, 60], "note": HOSTILE}
    path = str(tmp_path / "<b>cube.zarr")
    cube = SpectralCube.create(path, CubeSpec(40, 60, WAVELENGTHS, 16, settings=settings))
    values = random.random((31, 40, 60), np.float32) * np.linspace(0.2, 1, 31)[:, None, None]
    values = values.astype(np.float32)
    cube.write(Window(0, 0, 40, 60), values, random.random((40, 60)) < 0.9)
    stages = {"open": 1.0, "tiles": 3.5}
    before = known(None, state(str(image), [str(image)]), [str(image)])
    record = {"input": before, "device": HOSTILE, "stages": stages, "seconds": 4.5}
    (tmp_path / "<b>cube.run.json").write_text(json.dumps(record))
    return path


@pytest.fixture
def report(monkeypatch, capsys):
    monkeypatch.setattr(charts, "_DPI", 20)

    def run(path, *options):
        monkeypatch.setattr(sys, "argv", ["r2h", "report", str(path), "--json", *map(str, options)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        if left.value.code:
            return left.value.code, captured.err
        return 0, Path(json.loads(captured.out)["report"]).read_text("utf-8")

    return run


def test_it_shows_what_there_is_and_no_more(made, report):
    code, bare = report(made)
    assert code == 0
    assert "Estimated from RGB, not measured" in bare
    assert "NOT complete" in bare
    for title in ("Colours", "Spectra", "Time", "Settings", "Run"):
        assert f"<h2>{title}</h2>" in bare
    assert "The input, as it was decoded" in bare
    assert "This cube holds no uncertainty" in bare
    known = add_layers(made)
    _, full = report(made)
    assert "Closure: largest" in full
    assert "1 standard deviation" in full
    valid = known["valid"]
    filled = (known["quality"][valid] & 8 > 0).mean()
    inside = known["closure"][valid & (known["quality"] & 4 == 0)]
    assert ["context filled", f"{filled:.3%}"] in rows_of(full)
    rows = rows_of(full)
    (mean,) = (row[1] for row in rows if row and row[0].endswith("linear RGB: mean"))
    assert mean == f"{inside.mean():.4g}"


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("photo.tif", b"II*"),
        ("mine.html", b"<html>estimated from RGB, not measured</html>"),
        ("new.txt", None),
        ("folder.html", "a folder"),
    ],
)
def test_a_report_replaces_a_report_alone(made, report, tmp_path, name, holds):
    out = tmp_path / name
    if holds == "a folder":
        out.mkdir()
    elif holds:
        out.write_bytes(holds)
    code, said = report(made, "--out", out)
    assert code == 2
    assert name in said
    assert out.is_dir() or not holds or out.read_bytes() == holds


def test_a_report_replaces_a_report(made, report, tmp_path):
    first, again = (report(made, "--out", tmp_path / "report.html") for _ in range(2))
    assert first[0] == again[0] == 0


def test_it_needs_nothing_and_runs_nothing(made, report):
    _, html = report(made)
    assert "default-src 'none'; img-src data:;" in html
    assert set(re.findall(r"<(\w+)", html)) <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "strong", "section",
        "div", "figure", "img", "figcaption", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    assert set(re.findall(r'src="([^"]{,15})', html)) == {"data:image/png;"}
    assert "href" not in html
    assert "&lt;script&gt;" in html
    assert "&lt;b&gt;cube.zarr" in html


def test_a_browser_shows_it_without_complaint(made, report, browser):
    report(made)
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: said.append(request.url[:20]))
    page.goto("file://" + made.replace(".zarr", ".report.html"))
    assert page.evaluate("[...document.images].every((i) => i.naturalWidth > 100)")
    assert page.evaluate("getComputedStyle(document.body).maxWidth") == "1180px"
    assert {text for text in said if not text.startswith(("file://", "data:"))} == set()
    page.close()


def test_the_input_is_shown_only_where_it_is_the_one(made, tmp_path):
    view, image, record = CubeView.open(made), tmp_path / "in.png", record_of(made)
    input_of(view, record, None).close()
    shutil.move(image, tmp_path / "moved.png")
    assert input_of(view, record, None) is None
    input_of(view, record, str(tmp_path / "moved.png")).close()
    imsave(image, np.zeros((48, 70, 3), np.uint8), check_contrast=False)
    assert input_of(view, record, None) is None
    with pytest.raises(Refusal, match="another header"):
        input_of(view, record, str(image))


def test_an_input_of_other_pixels_under_the_same_header_is_not_shown(tmp_path):
    image = tmp_path / "bare.tif"

    def save(value):
        imsave(image, np.full((48, 70, 3), value, np.uint8), check_contrast=False)
        return known(None, state(str(image), [str(image)]), [str(image)])

    record = {"input": save(3)}
    of = SimpleNamespace(settings={"input": RasterScene.open(str(image)).header})
    view = SimpleNamespace(cube=of)
    input_of(view, record, None).close()
    save(9)
    assert input_of(view, record, None) is None
    with pytest.raises(Refusal, match="other pixels"):
        input_of(view, record, str(image))


@pytest.mark.parametrize(
    "facts",
    [{"white": [250.0, 255.0, 240.0]}, {"illuminant": "D65"}, {"illuminant": "D65", "white": 9}],
)
def test_the_camera_is_that_of_the_run_in_its_light_and_white(made, facts):
    view = CubeView.open(made)
    white = facts.get("white", 255.0)
    lens = load_camera("srgb", load_light(facts.get("illuminant", "E")))
    seen = resampled(lens, WAVELENGTHS).sensitivities
    digest = hashlib.sha256(seen.tobytes()).hexdigest()
    about = {
        "name": "srgb",
        "encoding": "srgb",
        "white": 255.0,
        "illuminant": "E",
        "sensitivities": digest,
    }
    view = SimpleNamespace(
        cube=SimpleNamespace(settings={"camera": about | facts}, wavelengths=WAVELENGTHS)
    )
    camera = run_camera(view)
    assert camera is not None
    np.testing.assert_array_equal(camera.sensitivities, seen)
    assert camera.white == (tuple(white) if isinstance(white, list) else white)


def test_the_input_is_the_part_that_the_cube_is_of(made, tmp_path):
    view = CubeView.open(made)
    camera = run_camera(view)
    assert camera is not None
    scene = RasterScene.open(str(tmp_path / "in.png"))
    shown = input_picture(view, scene, camera, (40, 60))
    values, _ = scene.read(Window(5, 7, 40, 60))
    assert np.abs(shown[..., :3].astype(int) - values.transpose(1, 2, 0)).max() <= 1


def test_no_address_that_a_record_names_is_followed(made, monkeypatch):
    monkeypatch.setattr(RasterScene, "open", lambda *_: pytest.fail("it was opened"))
    for source in ("http://127.0.0.1:9/in.png", "/vsicurl/http://127.0.0.1:9/in.png", 7, None):
        assert input_of(CubeView.open(made), {"input": {"source": source}}, None) is None
    assert input_of(CubeView.open(made), {"input": "in.png"}, None) is None


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "{}"])
def test_a_broken_record_is_no_record(made, report, tmp_path, text):
    (tmp_path / "<b>cube.run.json").write_text(text)
    assert record_of(made).keys() == set()


def test_a_camera_that_is_another_is_not_rendered_through(made):
    Companion.remove(made)  # it would not be that of the changed cube
    view = CubeView.open(made)
    for change in ({"sensitivities": "0"}, {"name": "none"}, {"white": "x"}):
        camera = {**view.cube.settings["camera"], **change}
        group = SpectralCube.open(made, "r+").group
        group.attrs["r2h"] = {**view.cube.settings, "camera": camera}
        assert run_camera(CubeView.open(made)) is None


@pytest.mark.parametrize("few", [0, 64])
def test_distinct_pixels_are_as_stored_also_by_an_overview(made, few, monkeypatch):
    monkeypatch.setattr("pipeline.report._FEW", few)
    add_layers(made)
    view = CubeView.open(made)
    for pixels in (distinct_pixels(view), distinct_pixels(CubeView.open(made), 3)):
        assert pixels
        for pixel in pixels:
            values, valid = view.cube.read(Window(pixel.row, pixel.col, 1, 1))
            assert valid.all()
            np.testing.assert_array_equal(pixel.spectrum, values[:, 0, 0])
            assert pixel.uncertainty.shape == (31,)


@pytest.mark.parametrize(("shape", "share"), [((1, 1), 1), ((1, 40), 0), ((33, 2), 1)])
def test_no_cube_is_too_small_or_too_empty(shape, share):
    spec = CubeSpec(*shape, WAVELENGTHS, 16)
    cube = SpectralCube.create(f"memory://report-{shape}-{share}.zarr", spec)
    cube.write(Window(0, 0, *shape), np.ones((31, *shape), np.float32), np.full(shape, bool(share)))
    add_layers(cube.uri)
    assert "Spectra" in cube_report(CubeView.open(cube.uri), {}, None)
