"""`r2h view`: one cube in the browser, over HTTP. It answers questions and keeps no state."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from importlib.resources import files
from typing import Annotated, Any

import numpy as np
from bokeh.embed import json_item
from bokeh.util.paths import static_path
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from numpy.typing import NDArray

from flows.plots import figures
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.picture import CLEAR, COLOURS, FALSE_COLOUR, FLAG_COLOURS, Palette, png, ramp
from pipeline.view import FLAGS, MOST_CHUNKS, CubeView
from pipeline.whole import lost, lost_beside, unfinished, watched

PAGES = files("flows") / "pages"
LOOPBACK = ("127.0.0.1", "localhost")
SIDE = 1200
"""Pixels of a picture's side, at most."""
HEADERS = {
    # Bokeh sets inline styles; scripts come from this server alone, and none is made from text.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

OF_THE_CUBE = ("pixel.json", "region.json", "picture.png")
"""What is read of the cube when it is asked for."""
Position = Annotated[int, Query(ge=0)]
Size = Annotated[int, Query(ge=1)]
Side = Annotated[int, Query(ge=1, le=SIDE)]
Ask = Callable[[Request], Awaitable[Response]]


def application(view: CubeView, token: str, hosts: tuple[str, ...] = LOOPBACK) -> FastAPI:
    """The server of one cube: it reads that cube, writes nothing, and knows no other path.

    Everything lies under ``/{token}/``. Requests for another host are refused, so that no page
    elsewhere can reach it by a name of its own that points here.
    """
    app = FastAPI(openapi_url=None)
    palette = Palette(view)
    _add_pages(app, view.cube.wavelengths)
    _add_pictures(app, view, palette)
    _add_numbers(app, view, palette)
    stays = watched(view.cube)

    @app.exception_handler(Refusal)
    def refused(_: Request, error: Refusal) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 500)

    app.mount("/", StaticFiles(directory=str(PAGES), html=True))

    @app.middleware("http")
    async def guard(request: Request, ask: Ask) -> Response:
        first, slash, rest = request.scope["path"].removeprefix("/").partition("/")
        request.scope["path"] = f"/{rest}"
        answer: Response
        if not secrets.compare_digest(first.encode(), token.encode()):
            answer = Response("Use the address that r2h view printed.", 403)
        elif not slash:
            answer = RedirectResponse(f"/{token}/")
        elif rest in OF_THE_CUBE and not await run_in_threadpool(stays):
            answer = JSONResponse({"detail": "The cube is another now: begin again."}, 409)
        else:
            answer = await ask(request)
        answer.headers.update(HEADERS)
        return answer

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    return app


def _add_pages(app: FastAPI, wavelengths: tuple[float, ...]) -> None:
    @app.get("/bokeh.js")
    def bokeh() -> FileResponse:
        return FileResponse(static_path() / "js" / "bokeh.min.js")

    @app.get("/plots.json")
    def plots() -> JSONResponse:
        made = figures(wavelengths)
        return JSONResponse({name: json_item(plot) for name, plot in made.items()})


def _add_pictures(app: FastAPI, view: CubeView, palette: Palette) -> None:
    @app.get("/picture.png")
    def picture(
        window: Annotated[Window, Depends(_window_of(view))],
        down: Side,
        across: Side,
        show: str = "colour",
        nm: Annotated[list[float] | None, Query(min_length=3, max_length=3)] = None,
    ) -> Response:
        if show not in ("colour", *palette.layers):
            raise HTTPException(404, "The cube has no such layer.")
        if (
            view.cost(window, shape := (down, across), None if show == "colour" else show)
            > MOST_CHUNKS
        ):
            raise HTTPException(413, "Zoom in: there are too many chunks to read here.")
        if show == "colour":
            chosen = (nm[0], nm[1], nm[2]) if nm else None
            pixels = palette.colours(window, shape, chosen)
        else:
            pixels = palette.layer(show, window, shape)
        return Response(png(pixels), media_type="image/png")

    @app.get("/ramp.png")
    def legend() -> Response:
        return Response(png(ramp()), media_type="image/png")


def _add_numbers(app: FastAPI, view: CubeView, palette: Palette) -> None:
    @app.get("/facts.json")
    def facts() -> JSONResponse:
        return JSONResponse(_facts(view, palette))

    @app.get("/lost.json")
    def lost_chunks() -> JSONResponse:
        # By itself: of a large cube in a bucket it takes a while to list them.
        of = view.cube
        known = {"unfinished": unfinished(of), "lost": len(lost(of)), "beside": lost_beside(of)}
        return JSONResponse(known)

    @app.get("/pixel.json")
    def pixel(row: Position, col: Position) -> JSONResponse:
        _inside(view, Window(row, col, 1, 1))
        found = {name: _plain(values) for name, values in view.pixel(row, col).items()}
        return JSONResponse({"row": row, "col": col, **found})

    @app.get("/region.json")
    def region(window: Annotated[Window, Depends(_window_of(view))]) -> JSONResponse:
        try:
            mean, deviation, count = view.region(window)
        except Refusal as error:
            raise HTTPException(413, str(error)) from error
        numbers = {"spectrum": _plain(mean), "spread": _plain(deviation), "pixels": count}
        return JSONResponse({**asdict(window), **numbers})


def _facts(view: CubeView, palette: Palette) -> dict[str, Any]:
    cube = view.cube
    camera = cube.settings.get("camera")
    titles: dict[str, tuple[str, float | None]] = {}
    if "quality" in palette.layers:
        titles["quality"] = ("Of several flags of a pixel, the first is shown.", None)
    scales = {name: (scale.title, scale.high) for name, scale in palette.scales.items()}
    return {
        "cube": cube.uri.rstrip("/").rsplit("/", maxsplit=1)[-1],
        "first": view.first,
        "begins": view.begins,
        "height": cube.height,
        "width": cube.width,
        "widest": view.widest,
        "wavelengths": cube.wavelengths,
        "presets": (("false colour", FALSE_COLOUR), ("blue to red", (650, 550, 450))),
        "colours": COLOURS,
        "flags": [
            (0, "no flag", CLEAR),
            *zip(FLAGS, FLAGS.values(), FLAG_COLOURS, strict=True),
        ],
        "layers": titles | scales,
        "camera": camera.get("name") if isinstance(camera, dict) else None,
        "checkpoint": str(cube.settings.get("checkpoint", "unknown"))[:12],
    }


def _window_of(view: CubeView) -> Callable[[int, int, int, int], Window]:
    def window(row: Position, col: Position, height: Size, width: Size) -> Window:
        return _inside(view, Window(row, col, height, width))

    return window


def _inside(view: CubeView, window: Window) -> Window:
    if window.intersection(view.whole) != window:
        raise HTTPException(422, f"The cube has {view.whole.height} x {view.whole.width} pixels.")
    return window


def _plain(values: NDArray[Any] | None) -> list[float | None] | None:
    """As JSON has it, which knows no NaN."""
    if values is None:
        return None
    # A float32's own shortest decimal: 0.4321, not 0.432099997997284.
    return [float(str(value)) if np.isfinite(value) else None for value in values]
