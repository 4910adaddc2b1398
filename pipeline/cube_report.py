"""What `r2h report` says of a cube: whether it is any good, at a glance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pipeline import charts, layers
from pipeline.camera import Camera, load_camera, resampled
from pipeline.curve import to_srgb
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.light import load_light
from pipeline.page import Picture, Section, flat, number, page
from pipeline.picture import FALSE_COLOUR, Palette, Pixels, opaque, shape_of, true_colour
from pipeline.report import distinct_pixels, spectra_figure
from pipeline.scene import Scene
from pipeline.seam import certificate
from pipeline.view import FLAGS, CubeView

LONGEST = 700
"""Pixels of a picture's long side, at most."""
_STRIP = 256


def cube_report(view: CubeView, record: Mapping[str, Any], scene: Scene | None) -> str:
    """The HTML of a cube's report; reads a few chunks at a time, whatever its size.

    ``record`` is the run's `run.json`, empty where there is none; ``scene`` the input, None where
    it is not at hand. What is not known is left out.
    """
    cube = view.cube
    name = cube.uri.rstrip("/").rsplit("/", maxsplit=1)[-1]
    nm = cube.wavelengths
    lead = (
        f"{cube.height} x {cube.width} pixels, {len(nm)} wavelengths from {nm[0]:g} to {nm[-1]:g} "
        f"nm, {'complete' if cube.sealed else 'NOT complete: the run has not sealed it'}. "
        f"{view.begins}"
    )
    palette = Palette(view)
    sections = [
        _colours(palette, scene),
        _spectra(palette),
        *_layers(palette),
        *_seam(view),
        *_timing(record),
        Section(
            "Settings", "What decided the result, as kept in the cube.", rows=flat(cube.settings)
        ),
        *_run(record),
    ]
    return page(name, lead, sections)


def run_camera(view: CubeView) -> Camera | None:
    """The camera that the cube was made for; None where its table is not at hand."""
    facts = view.cube.settings.get("camera", {})
    try:
        lens = load_camera(str(facts["name"]), load_light(str(facts["illuminant"])))
        white = facts["white"]
        white = tuple(white) if isinstance(white, list) else float(white)
        camera = resampled(lens, view.cube.wavelengths).reading(
            facts["encoding"], white, facts.get("ends")
        )
    except (Refusal, KeyError, TypeError, ValueError):
        return None
    same = hashlib.sha256(camera.sensitivities.tobytes()).hexdigest() == facts.get("sensitivities")
    return camera if same else None


def _colours(palette: Palette, scene: Scene | None) -> Section:
    view, shape = palette.view, shape_of(palette.view, LONGEST)
    size, camera = (view.cube.height, view.cube.width), run_camera(view)
    pictures = []
    if scene is not None and camera is not None:
        seen = input_picture(view, scene, camera, shape)
        pictures.append(_picture(seen, size, "The input, as it was decoded."))
    if camera is not None:
        planes = view.picture(view.whole, shape, true_colour(camera))
        caption = f"The cube rendered back through the camera {camera.name}."
        pictures.append(
            Picture(charts.png(charts.picture(planes.transpose(1, 2, 0), size)), caption)
        )
    if camera is None or camera.name != "srgb":
        caption = "The cube as the eye sees it, under equal-energy white."
        pictures.append(
            Picture(charts.png(charts.picture(palette.colours(view.whole, shape), size)), caption)
        )
    false = palette.colours(view.whole, shape, FALSE_COLOUR)
    caption = (
        "False colour: {}, {} and {} nm as red, green and blue, each from 0 to the reflectance "
        "that 98 % of pixels stay below."
    ).format(*FALSE_COLOUR)
    pictures.append(_picture(false, size, caption))
    text = "The camera is not in the library, or is another there." if camera is None else ""
    text = text or ("The input is not at hand." if scene is None else "")
    return Section("Colours", text, pictures)


def _picture(pixels: Pixels, size: tuple[int, int], caption: str) -> Picture:
    return Picture(charts.png(charts.picture(pixels, size)), caption)


def input_picture(view: CubeView, scene: Scene, camera: Camera, shape: tuple[int, int]) -> Pixels:
    """The input where the cube is, at a shape, as sRGB (*shape, 4); read strip by strip."""
    row0, col0 = view.first
    rows, cols = (
        ((np.arange(count) + 0.5) * size / count).astype(int)
        for count, size in zip(shape, (view.cube.height, view.cube.width), strict=True)
    )
    image = np.zeros((*shape, 4), np.uint8)
    for start in range(0, view.cube.height, _STRIP):
        inside = np.flatnonzero((rows >= start) & (rows < start + _STRIP))
        if not len(inside):
            continue
        first, last = int(rows[inside[0]]), int(rows[inside[-1]])
        window = Window(row0 + first, col0, last - first + 1, view.cube.width)
        values, valid = scene.read(window)
        down = rows[inside] - first
        known = valid[down][:, cols]
        # What is under the mask may be anything: it is neither shown nor decoded.
        rgb = to_srgb(
            camera.decode(np.where(known, values[:, down][:, :, cols], 0).astype(values.dtype))
        )
        image[inside] = opaque(rgb, known).transpose(1, 2, 0)
    return image


def _spectra(palette: Palette) -> Section:
    view, shape = palette.view, shape_of(palette.view, LONGEST)
    pixels = distinct_pixels(view)
    known = "uncertainty" in view.aux
    caption = "Spectra of the pixels that differ most by spectral angle, marked on the picture" + (
        ", with ± 1 standard deviation." if known else ". This cube holds no uncertainty."
    )
    figure = spectra_figure(view, palette.colours(view.whole, shape), pixels)
    pictures = [Picture(charts.png(figure), caption, wide=True)]
    typical = view.levels[1].typical()
    if typical.size:
        spread = charts.distribution(view.cube.wavelengths, typical)
        caption = f"Distribution of {typical.shape[1]} spectra from all over the cube."
        pictures.append(Picture(charts.png(spread), caption))
    return Section("Spectra", pictures=pictures)


def _layers(palette: Palette) -> Iterator[Section]:
    view, shape = palette.view, shape_of(palette.view, LONGEST)
    size, pictures = (view.cube.height, view.cube.width), []
    for name, scale in palette.scales.items():
        figure = charts.picture(palette.layer(name, view.whole, shape), size, scale)
        pictures.append(Picture(charts.png(figure), f"{name.capitalize()}: {scale.title}."))
    if "quality" in palette.layers:
        figure = charts.flag_picture(palette.layer("quality", view.whole, shape), size)
        pictures.append(
            Picture(charts.png(figure), "Quality: of several flags of a pixel, the first.")
        )
    if pictures:
        yield Section("Trust", "", pictures, _census(view), ("of all valid pixels", ""))


def _census(view: CubeView) -> list[tuple[str, str]]:
    """Shares of the flags, and how the cube renders back, as the run counted them."""
    try:
        found = layers.certificate(view.cube.companion.census())
    except Refusal:  # no companion, or another cube's
        return []
    if not found["pixels"]:
        return []
    shares = [
        (name, "not known" if found[flag] is None else f"{found[flag]:.3%}")
        for flag, name in zip(layers.FLAGS, FLAGS.values(), strict=True)
    ]
    inside = "closure residual inside the camera's gamut, linear RGB: "
    about = {"closure_mean": "mean", "closure_p99": "99 % are below", "closure_max": "largest"}
    return shares + [(inside + text, number(found[name])) for name, text in about.items()]


def _seam(view: CubeView) -> Iterator[Section]:
    try:
        found = certificate(view.cube.companion.seam())
    except Refusal:  # no companion, or another cube's
        return
    if not found["compared_in_overlaps"]:
        return
    meaning = {
        "disagreement_mean": "mean difference of two tiles where they overlap, reflectance",
        "disagreement_p99": "99 % of the differences are below, reflectance",
        "gradient_ratio": "step across tiles' borders over the step beside them: 1, none shows",
        "energy_ratio": "the same of squared steps",
        "compared_in_overlaps": "values compared",
    }
    rows = [(text, number(found[name])) for name, text in meaning.items()]
    yield Section("Seams", "How far neighbouring tiles disagree, over the whole cube.", (), rows)


def _timing(record: Mapping[str, Any]) -> Iterator[Section]:
    stages = record.get("stages") or {}
    if stages:
        forecast = record.get("forecast_seconds")
        shown = dict(stages) | ({"tiles, as forecast": forecast} if forecast else {})
        caption = "Time of each stage, since the run was begun or last resumed."
        yield Section("Time", "", [Picture(charts.png(charts.bars(shown, "seconds")), caption)])


def _run(record: Mapping[str, Any]) -> Iterator[Section]:
    kept = ("seconds", "peak_bytes", "megapixels", "tiles", "input", "environments")
    if facts := {name: record[name] for name in kept if name in record}:
        yield Section(
            "Run",
            "What may move a last bit only, as kept in run.json; times since it was last resumed.",
            rows=flat(facts),
        )
