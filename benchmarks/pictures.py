"""Every picture of the docs, made again: `python -m benchmarks.pictures [NAMES]` (`make pictures`).

Of the photograph that comes with scikit-image, by the shipped weights, and headless Chromium for
what a browser shows. Two need more, and are left out without: `chart` a photograph of a colour
chart, `reliability` CAVE and what `r2h calibrate` wrote.
"""

import argparse
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import skimage
from PIL import Image, ImageColor
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks import calibration
from pipeline.picture import COLOURS, FLAG_COLOURS

PHOTO = Path(skimage.__file__).parent / "data" / "coffee.png"
PIXELS = ((300, 560), (150, 280), (250, 110))
"""Row and column of those that are clicked: wood, coffee, the saucer."""
BOX = ((30, 420), (100, 560))
"""Corners of the region that is dragged over, wood."""
PATIENCE = 300
"""Seconds for a server to start on a busy machine."""
EXACT = [ImageColor.getrgb(c) for c in (*COLOURS, *FLAG_COLOURS, "#FFFFFF", "#ECECEC", "#D9D9D9")]
"""Colours that a small file keeps: else two curves could look alike."""


@dataclass(frozen=True)
class Given:
    """What pictures are made of, and where they go."""

    out: Path
    folder: Path
    browser: Browser
    chart: tuple[str, str] | None
    calibration: tuple[str, str] | None

    @cached_property
    def cube(self) -> Path:
        """Of the photograph, with its sigma; made when it is first asked for."""
        path = self.folder / "coffee.zarr"
        _r2h("reconstruct", PHOTO, path, "--uncertainty", "fast")
        return path


def main() -> None:
    """Make the pictures named, or all."""
    asked = _parser().parse_args()
    with TemporaryDirectory() as folder, sync_playwright() as driver:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        given = Given(asked.out, Path(folder), browser, asked.chart, asked.calibration)
        asked.out.mkdir(parents=True, exist_ok=True)
        for name in asked.names or PICTURES:
            made = PICTURES[name](given)
            print(name, "made" if made else "left out: see --help", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *PICTURES], help="which; all if none")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="(docs/images)")
    two: dict[str, Any] = {"nargs": 2, "default": None}
    chart = "of a chart, as benchmarks.chart takes it"
    parser.add_argument("--chart", metavar=("PICTURE", "CORNERS"), help=chart, **two)
    both = "CAVE, and the folder of r2h calibrate"
    parser.add_argument("--calibration", metavar=("CAVE", "RUN"), help=both, **two)
    return parser


def spectra(given: Given) -> bool:
    """The picture at the head of the README, as `make demo` leaves it."""
    path = given.folder / "demo.zarr"
    _r2h("reconstruct", PHOTO, path)
    _r2h("look", path)
    shutil.copy(given.folder / "demo.spectra.png", given.out / "coffee.spectra.png")
    return True


def report(given: Given) -> bool:
    """`r2h report`, down to the settings."""
    _r2h("report", given.cube)
    page = given.browser.new_page(viewport={"width": 900, "height": 1000})
    page.goto(f"file://{given.folder}/coffee.report.html")
    settings = page.get_by_role("heading", name="Settings").bounding_box()
    assert settings
    clip = {"x": 0.0, "y": 0.0, "width": 900.0, "height": settings["y"] - 16}
    _keep(page.screenshot(full_page=True, clip=clip), given.out / "report.png")  # type: ignore[arg-type]
    return True


def viewer(given: Given) -> bool:
    """`r2h view` with three pixels and a region, in colour and with its uncertainty."""
    page = given.browser.new_page(viewport={"width": 1240, "height": 720})
    with _told([*R2H, "view", str(given.cube), "--no-browser"]) as address:
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        for number, place in enumerate(PIXELS, 1):
            time.sleep(0.6)  # two clicks in a third of a second are a double click
            page.mouse.click(*_at(page, *place))
            _rows(page, number)
        page.get_by_title("Drag for a region's mean and spread").click()
        page.mouse.move(*_at(page, *BOX[0]))
        page.mouse.down()
        page.mouse.move(*_at(page, *BOX[1]), steps=8)
        page.mouse.up()
        _rows(page, len(PIXELS) + 1)
        for look, name in (("colour", "viewer"), ("uncertainty", "viewer-uncertainty")):
            page.select_option("#show", look)
            page.wait_for_function("() => sources.far.data.url.length && !busy")
            time.sleep(1)  # Bokeh draws what it was given
            _keep(page.screenshot(), given.out / f"{name}.png")
    return True


def prefect(given: Given) -> bool:
    """A run and its report in the UI of Prefect's own server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, home = f"http://127.0.0.1:{port}", {"PREFECT_HOME": str(given.folder / "prefect")}
    env = os.environ | home | {"PREFECT_API_URL": f"{url}/api"}
    words = ["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen([sys.executable, *words], env=env, stdout=subprocess.DEVNULL) as server:
        try:
            _until(lambda: _asked(f"{url}/api/health"))
            # By names that are of no machine.
            shutil.copy(PHOTO, given.folder)
            words = ["reconstruct", "coffee.png", "flow/coffee.zarr", "--prefect"]
            _r2h(*words, cwd=given.folder, env=env)
            (run,) = _asked(f"{url}/api/flow_runs/filter", {})
            ours = {"artifacts": {"key": {"any_": ["report"]}}}
            (artifact,) = _asked(f"{url}/api/artifacts/filter", ours)
            page = given.browser.new_page(viewport={"width": 1200, "height": 1090})
            places = {
                "run": (f"runs/flow-run/{run['id']}", run["name"]),
                "report": (f"artifacts/artifact/{artifact['id']}", "megapixels"),
            }
            for name, (place, text) in places.items():
                page.goto(f"{url}/{place}", timeout=1000 * PATIENCE)
                page.get_by_text(text).first.wait_for(timeout=1000 * PATIENCE)
                time.sleep(5)  # its chart moves into place
                _keep(page.screenshot(), given.out / f"prefect-{name}.png")
        finally:
            server.terminate()
    return True


def chart(given: Given) -> bool:
    """Patches of a chart, from its photograph and measured."""
    if given.chart:
        words = ["-m", "benchmarks.chart", *given.chart, str(given.out / "chart.png")]
        subprocess.run([sys.executable, *words], check=True)
    return bool(given.chart)


def reliability(given: Given) -> bool:
    """Whether sigma can be believed."""
    if given.calibration:
        calibration.main(*given.calibration, str(given.out / "reliability.png"))
    return bool(given.calibration)


PICTURES: dict[str, Callable[[Given], bool]] = {
    made.__name__: made for made in (spectra, report, viewer, prefect, chart, reliability)
}
R2H = (sys.executable, "-c", "from flows.cli import main; main()")


def _r2h(*words: object, **how: Any) -> None:
    subprocess.run([*R2H, *map(str, words)], check=True, **how)


@contextmanager
def _told(command: list[str]) -> Iterator[str]:
    """The address that a server tells, for as long as it is wanted."""
    pipe: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **pipe) as server:
        try:
            assert server.stdout
            found = (re.search(r"http://\S+", line) for line in server.stdout)
            yield next(address[0] for address in found if address)
        finally:
            server.terminate()


def _at(page: Page, row: int, col: int) -> tuple[float, float]:
    """Where a place in the cube is on the screen."""
    x, y = page.evaluate(
        """([row, col]) => {
            const { el, frame } = Bokeh.index.find_one(image);
            const box = el.getBoundingClientRect();
            return [box.x + frame.x_scale.compute(col), box.y + frame.y_scale.compute(row)];
        }""",
        [row, col],
    )
    return x, y


def _rows(page: Page, count: int) -> None:
    page.wait_for_function("n => document.querySelectorAll('#rows tr').length === n", arg=count)


def _asked(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.loads(answer.read())


def _until(ready: Callable[[], object]) -> None:
    for _ in range(PATIENCE):
        with suppress(OSError):
            ready()
            return
        time.sleep(1)
    raise TimeoutError("the server did not start")


def _keep(screenshot: bytes, path: Path) -> None:
    """A picture of 256 colours, those of curves and flags among them."""
    image = Image.open(io.BytesIO(screenshot)).convert("RGB")
    most = (image.quantize(256 - len(EXACT)).getpalette() or [])[: 3 * (256 - len(EXACT))]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*most, *(value for colour in EXACT for value in colour)])
    small = image.quantize(palette=palette, dither=Image.Dither.NONE)
    # Pillow looks for the nearest of coarser values: what is exact is put right.
    found, pixels = np.array(small), np.array(image)
    for place, colour in enumerate(EXACT, 256 - len(EXACT)):
        found[(pixels == colour).all(axis=2)] = place
    kept = Image.fromarray(found)
    kept.putpalette(small.getpalette() or [])
    kept.save(path, optimize=True)


if __name__ == "__main__":
    main()
