"""`r2h view`: what the server answers, to whom, and what a person sees in a browser."""

import http.client
import re
import socket
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import Queue
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

pytest.importorskip("bokeh", reason="r2h view needs the extra 'viewer'")

import uvicorn
from starlette.testclient import TestClient

from flows.serve import listening, serve
from flows.view import application
from pipeline.cube import CubeSpec, SpectralCube
from pipeline.grid import Window
from pipeline.picture import FALSE_COLOUR, Palette
from pipeline.view import CubeView
from tests.beside import add_layers
from tests.cubes import make

WAVELENGTHS = tuple(float(nm) for nm in range(400, 701, 10))
TOKEN = "secret"


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """64 x 96 pixels of smooth spectra, a hole, every layer, and a name that is markup."""
    path = str(tmp_path_factory.mktemp("view") / "<b>a&b.zarr")
    row, col = np.mgrid[0:64, 0:96] / 96
    nm = np.linspace(0, 1, 31)[:, None, None]
    values = (0.1 + 0.5 * np.sin(3 * (row + nm)) ** 2 * (0.3 + col)).astype(np.float32)
    valid = np.ones((64, 96), bool)
    valid[10:20, 60:80] = False
    settings = {"camera": {"name": "<script>alert(1)</script>"}, "checkpoint": "0123456789abcdef"}
    made = SpectralCube.create(path, CubeSpec(64, 96, WAVELENGTHS, 32, settings=settings))
    made.write(Window(0, 0, 64, 96), values, valid)
    add_layers(path)
    return SpectralCube.open(path)


@pytest.fixture(scope="module")
def client(cube):
    with TestClient(application(CubeView.open(cube.uri), TOKEN), "http://127.0.0.1") as asked:
        yield asked


def test_numbers_are_the_stores(client, cube):
    got = client.get(f"/{TOKEN}/pixel.json?row=40&col=50").json()
    values, _ = cube.read(Window(40, 50, 1, 1))
    assert np.array_equal(np.float32(got["spectrum"]), values[:, 0, 0])
    assert len(got["uncertainty"]) == 31
    got = client.get(f"/{TOKEN}/region.json?row=5&col=55&height=20&width=30").json()
    values, valid = cube.read(Window(5, 55, 20, 30))
    assert got["pixels"] == valid.sum() == 400
    np.testing.assert_allclose(got["spectrum"], values[:, valid].mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(got["spread"], values[:, valid].std(axis=1), rtol=1e-4)
    nodata = client.get(f"/{TOKEN}/pixel.json?row=15&col=65").json()
    assert nodata["spectrum"] == [None] * 31


@pytest.mark.parametrize(
    "path",
    ["", "facts.json", "other/facts.json", "secre/facts.json", "secret2/facts.json"],
)
def test_nothing_is_answered_without_the_token(client, path):
    assert client.get(f"/{path}").status_code == 403


def test_nothing_is_answered_under_another_name(client):
    answer = client.get(f"/{TOKEN}/facts.json", headers={"host": "evil.example"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "../../pyproject.toml",
        "%2e%2e/%2e%2e/pyproject.toml",
        "..%2fview.py",
        "/etc/passwd",
        "bokeh.js/../view.py",
        "reflectance/0.0.0",
        "docs",
        "openapi.json",
    ],
)
def test_no_other_path_is_known(client, path):
    assert client.get(f"/{TOKEN}/{path}").status_code in (403, 404)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("pixel.json?row=64&col=0", 422),
        ("pixel.json?row=-1&col=0", 422),
        ("pixel.json?row=a&col=0", 422),
        ("region.json?row=0&col=0&height=65&width=1", 422),
        ("region.json?row=0&col=0&height=0&width=1", 422),
        ("picture.png?row=0&col=0&height=9&width=9&down=5000&across=9", 422),
        ("picture.png?row=0&col=0&height=9&width=9&down=9&across=9&nm=1&nm=2", 422),
        ("picture.png?row=0&col=0&height=9&width=9&down=9&across=9&show=seam", 404),
        ("picture.png?row=0&col=0&height=9&width=9&down=9&across=9&show=valid", 404),
        ("facts.json", 200),
        ("lost.json", 200),
        ("picture.png?row=0&col=0&height=9&width=9&down=9&across=9&show=quality", 200),
        ("picture.png?row=0&col=0&height=9&width=9&down=9&across=9&nm=1&nm=2&nm=3", 200),
    ],
)
def test_what_is_asked_is_checked(client, path, code):
    answer = client.get(f"/{TOKEN}/{path}")
    assert answer.status_code == code
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "unsafe-eval" not in policy


def test_it_says_how_many_chunks_a_finished_cube_lost(tmp_path):
    uri, none = make(tmp_path / "a.zarr").uri, {"unfinished": 0, "lost": 0, "beside": 0}
    with TestClient(application(CubeView.open(uri), TOKEN), "http://127.0.0.1") as asked:
        assert asked.get(f"/{TOKEN}/lost.json").json() == none
        (tmp_path / "a.zarr/reflectance/0.0.1").unlink()
        assert asked.get(f"/{TOKEN}/lost.json").json() == {**none, "lost": 1}


def test_it_only_reads(client):
    assert client.post(f"/{TOKEN}/facts.json").status_code == 405
    assert client.delete(f"/{TOKEN}/").status_code == 405


def test_by_custom_this_machine_alone_is_let_in():
    with listening("127.0.0.1", 0) as sock:
        assert sock.getsockname()[0] == "127.0.0.1"


def test_the_browser_is_led_to_it_and_no_path_leads_out_of_it(cube, monkeypatch):
    """The server itself: a client would tidy paths up."""
    led, made = Queue(), Queue()

    def browse(uri):
        page = Path(unquote(urlsplit(uri).path))
        led.put((uri, page.stat().st_mode & 0o777, page.read_text(), page))

    def remember(self, config):
        made.put(self)
        begin(self, config)

    begin = uvicorn.Server.__init__
    monkeypatch.setattr("webbrowser.open", browse)
    monkeypatch.setattr(uvicorn.Server, "__init__", remember)
    thread = threading.Thread(target=serve, args=(cube.uri, "", 0, True, lambda _: None))
    thread.start()
    uri, mode, text, page = led.get(timeout=20)
    found = re.search(r"url=http://127\.0\.0\.1:(\d+)/([\w-]{32})/", text)
    port, token = int(found[1]), found[2]
    assert token not in uri
    assert mode == 0o600

    def answer(path):
        asking = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        asking.request("GET", path)
        code = asking.getresponse().status
        asking.close()
        return code

    assert answer(f"/{token}/facts.json") == 200
    assert answer("/facts.json") == 403
    ups = ("../", "..%2f", "%2e%2e/", "/", "./../", "x/../../")
    names = ("view.py", "pages/../view.py", "/etc/passwd", "../pyproject.toml")
    assert {answer(f"/{token}/{up}{name}") for up in ups for name in names} == {404}
    made.get().should_exit = True
    thread.join(20)
    assert not thread.is_alive()
    assert not page.exists()


@contextmanager
def serving(app):
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    with listening("127.0.0.1", 0) as sock:
        thread = threading.Thread(target=server.run, args=([sock],), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/{TOKEN}/"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def page(cube, browser):
    """The page in a headless browser, which fails on any error of its scripts."""
    with serving(application(CubeView.open(cube.uri), TOKEN)) as address:
        allowed = ["clipboard-read", "clipboard-write"]
        context = browser.new_context(viewport={"width": 1280, "height": 760}, permissions=allowed)
        opened, wrong = context.new_page(), []
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        opened.goto(address)
        opened.wait_for_selector("body[data-ready]", timeout=60_000)
        yield opened
        assert wrong == []


def at(page, row, col):
    """Where a place in the cube is on the screen."""
    x, y = page.evaluate(
        """([row, col]) => {
            const plot = Bokeh.documents.map((d) => d.get_model_by_name("image")).find((m) => m);
            const { el, frame } = Bokeh.index.find_one(plot);
            const box = el.getBoundingClientRect();
            return [box.x + frame.x_scale.compute(col), box.y + frame.y_scale.compute(row)];
        }""",
        [row, col],
    )
    return x, y


def lines(page, count):
    """The spectra drawn, as soon as there are so many."""
    page.wait_for_function(
        "n => document.querySelectorAll('#rows tr').length === n", arg=count, polling=20
    )
    return page.evaluate("JSON.parse(JSON.stringify(sources.lines.data.y))")


def test_a_click_shows_the_spectrum_that_is_stored(page, cube):
    for number, (row, col) in enumerate(((40, 50), (5, 5), (33, 90)), 1):
        time.sleep(0.5)  # two clicks in a third of a second are a double click
        page.mouse.click(*at(page, row + 0.5, col + 0.5))
        drawn = lines(page, number)[-1]
        values, _ = cube.read(Window(row, col, 1, 1))
        assert np.array_equal(np.float32(drawn), values[:, 0, 0])
        assert f"row {row}, column {col}" in page.inner_text("#rows")
    outline = page.evaluate("sources.bands.data.x.map((x) => x.length)")
    assert outline == [62, 62, 62]
    page.click("#clear")
    assert lines(page, 0) == []


def test_a_pixel_is_named_by_keyboard(page, cube):
    page.focus("#row")
    for key in ("3", "3", "Tab", "9", "0", "Enter"):
        page.keyboard.press(key)
    drawn = lines(page, 1)[-1]
    values, _ = cube.read(Window(33, 90, 1, 1))
    assert np.array_equal(np.float32(drawn), values[:, 0, 0])
    page.fill("#row", str(cube.height))
    page.keyboard.press("Enter")
    assert not page.evaluate("$('row').checkValidity()")
    assert len(lines(page, 1)) == 1
    page.click("#clear")


def test_a_drag_shows_a_regions_mean(page, cube):
    page.get_by_title("Drag for a region's mean and spread").click()
    page.mouse.move(*at(page, 8.5, 55.5))
    page.mouse.down()
    page.mouse.move(*at(page, 20.5, 70.5), steps=4)
    page.mouse.move(*at(page, 29.5, 85.5), steps=4)
    page.mouse.up()
    drawn = lines(page, 1)[0]
    values, valid = cube.read(Window(8, 55, 22, 31))
    known = values[:, valid].astype(np.float64)
    mean, spread = known.mean(axis=1), known.std(axis=1)
    np.testing.assert_allclose(drawn, mean, rtol=1e-5)
    outline = page.evaluate("Array.from(sources.bands.data.y[0])")
    band = np.concatenate([mean + spread, (mean - spread)[::-1]])
    np.testing.assert_allclose(outline, np.maximum(band, 0), rtol=0, atol=1e-6)
    assert f"of {valid.sum()} pixels" in page.inner_text("#rows")
    page.click("#clear")


def test_six_are_compared_and_the_oldest_goes(page):
    for col in range(7):
        page.evaluate("col => add('pixel.json', { row: 0, col })", col)
    rows = page.inner_text("#rows")
    assert "column 0" not in rows
    assert [f"column {col}" in rows for col in range(1, 7)] == [True] * 6
    assert len(set(page.evaluate("sources.lines.data.colour"))) == 6
    page.click("#clear")


def test_what_is_copied_is_what_is_shown(page, cube):
    time.sleep(0.5)
    page.mouse.click(*at(page, 30.5, 30.5))
    lines(page, 1)
    page.evaluate("add('region.json', { row: 5, col: 55, height: 20, width: 30 })")
    lines(page, 2)
    page.click("#copy")
    page.wait_for_function("() => $('said').textContent === 'Copied.'", polling=20)
    copied = page.evaluate("navigator.clipboard.readText()")
    head, *table = [line.split(",") for line in copied.splitlines()]
    region = "mean of rows 5-24 cols 55-84"
    assert head == [
        "wavelength_nm",
        "row 30 col 30 reflectance estimated",
        "row 30 col 30 sigma of the estimate",
        f"{region} reflectance estimated",
        f"{region} standard deviation over 400 pixels",
    ]
    got = np.array(table, float).T
    assert got[0].tolist() == list(WAVELENGTHS)
    values, _ = cube.read(Window(30, 30, 1, 1))
    assert np.array_equal(np.float32(got[1]), values[:, 0, 0])
    sigma = CubeView.open(cube.uri).pixel(30, 30)["uncertainty"]
    assert np.array_equal(np.float32(got[2]), sigma)
    values, valid = cube.read(Window(5, 55, 20, 30))
    np.testing.assert_allclose(got[3], values[:, valid].mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(got[4], values[:, valid].std(axis=1), rtol=1e-4)
    # Over plain HTTP a page has no clipboard.
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    with page.expect_download() as saved:
        page.click("#copy")
    assert saved.value.suggested_filename == "spectra.csv"
    assert saved.value.path().read_text() == copied
    part = page.evaluate("() => { facts.first = [37, 41]; return csv(); }")
    page.evaluate("facts.first = [0, 0]")
    named = "wavelength_nm,row 30 col 30 of the part from row 37 col 41 reflectance estimated,"
    assert part.startswith(named)
    page.click("#clear")


SHOWN = """async () => {
    const { url, x, y, w, h } = sources.near.data;
    const image = Object.assign(new Image(), { src: url[0] });
    await image.decode();
    const [across, down] = [image.naturalWidth, image.naturalHeight];
    const canvas = Object.assign(document.createElement("canvas"), { width: across, height: down });
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const row = (i) => Array.from(context.getImageData(0, i, across, 1).data);
    const some = [3, 100, 200, 299].map((eighth) => Math.floor(eighth * down / 300));
    return { window: [y[0], x[0], h[0], w[0]], shape: [down, across], rows: some, pixels: some.map(row) };
}"""  # noqa: E501


def test_every_look_is_the_numbers_colours(page, cube):
    palette = Palette(CubeView.open(cube.uri))
    looks = {"colour": palette.colours}
    chosen = (610.0, 480.0, 430.0)
    looks |= {name: partial(palette.layer, name) for name in ("uncertainty", "closure", "quality")}
    looks["bands"] = partial(palette.colours, nm=chosen)
    looks[",".join(map(str, FALSE_COLOUR))] = partial(palette.colours, nm=FALSE_COLOUR)
    offered = page.evaluate("[...$('show').options].map((o) => o.value)")
    assert set(looks) < set(offered)
    seen = set()
    for look, draw in looks.items():
        page.select_option("#show", look)
        if look == "bands":
            for name, nm in zip(("red", "green", "blue"), chosen, strict=True):
                page.select_option(f"#{name}", f"{nm:g}")
        page.wait_for_function("() => sources.near.data.url.length === 1 && !busy", polling=20)
        shown = page.evaluate(SHOWN)
        wanted = draw(Window(*shown["window"]), tuple(shown["shape"]))
        got = np.array(shown["pixels"], np.uint8).reshape(len(shown["rows"]), -1, 4)
        np.testing.assert_array_equal(got, wanted[shown["rows"]], err_msg=look)
        seen.add(got.tobytes())
        if look in palette.scales:
            assert f"{palette.scales[look].high:.2g}" in page.inner_text("#legend")
    assert len(seen) == len(looks)
    assert page.evaluate("$('show').value") == "bands"
    assert page.evaluate("$('red').value") == "700"


def test_zooming_asks_for_what_is_seen(page):
    page.select_option("#show", "colour")
    page.mouse.move(*at(page, 32, 48))
    before = page.evaluate("document.body.dataset.drawn")
    page.mouse.wheel(0, -400)
    page.wait_for_function("b => document.body.dataset.drawn !== b", arg=before, polling=20)
    page.wait_for_function("() => sources.near.data.w[0] < 96", polling=20)


def test_names_from_outside_are_text(page):
    assert page.inner_text("#name") == "<b>a&b.zarr"
    assert "<script>alert(1)</script>" in page.inner_text("#about")
    assert "not measured" in page.inner_text("header")


def test_a_socket_that_is_taken_is_an_error():
    with listening("127.0.0.1", 0) as sock, pytest.raises(OSError, match="in use"):
        listening("127.0.0.1", sock.getsockname()[1])


def test_a_cube_that_is_damaged_or_replaced_is_told(tmp_path):
    uri = str(tmp_path / "a.zarr")
    made = make(uri)
    made.seal()
    with TestClient(application(CubeView.open(uri), TOKEN), "http://127.0.0.1") as asked:
        pixel = f"/{TOKEN}/pixel.json?row=0&col=0"
        assert asked.get(pixel).status_code == 200
        chunk = tmp_path / "a.zarr/reflectance/0.0.0"
        whole = chunk.read_bytes()
        chunk.write_bytes(whole[:5])
        answer = asked.get(pixel)
        assert (answer.status_code, "r2h verify" in answer.json()["detail"]) == (500, True)
        chunk.write_bytes(whole)
        assert asked.get(pixel).status_code == 200
        SpectralCube.remove(uri)
        time.sleep(0.02)
        make(uri).seal()
        for path in (pixel, f"/{TOKEN}/region.json?row=0&col=0&height=2&width=2"):
            answer = asked.get(path)
            assert (answer.status_code, "another now" in answer.json()["detail"]) == (409, True)
        assert asked.get(f"/{TOKEN}/facts.json").status_code == 200


def test_the_address_without_its_last_slash_leads_to_it(client):
    assert client.get(f"/{TOKEN}", follow_redirects=False).headers["location"] == f"/{TOKEN}/"


@pytest.mark.parametrize(
    ("host", "shown"), [("", "127.0.0.1"), ("::1", "[::1]"), ("0.0.0.0", socket.gethostname())]
)
def test_the_address_that_is_told_is_one_that_answers(cube, monkeypatch, host, shown):
    told = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda *_: None)
    serve(cube.uri, host, 0, False, told.append)
    assert told[0].startswith(f"http://{shown}:")
