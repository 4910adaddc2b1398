"""What an image's pixel values mean: sensitivities, encoding and white."""

import math
import os
import re
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.curve import end, from_srgb, full, refuse_beyond, srgb_of
from pipeline.errors import Refusal
from pipeline.light import EQUAL_ENERGY, Light, load_light
from pipeline.table import averaged, is_csv, linear, outside, parse_table, read_text, refined

Encoding = Literal["srgb", "linear"]
White = float | tuple[float, ...]
Floats = NDArray[np.float32]

COLUMNS = ("wavelength_nm", "red", "green", "blue")
"""Of a camera's CSV."""
LIBRARY = files("configs") / "cameras"
_OBSERVER = "cie1931"
_SPAN = (400.0, 700.0)
"""nm that the library's tables span."""
_OUTSIDE = 0.05
"""Largest share of a channel's response beyond that and the model's wavelengths."""
_POSITIVE = 0.1
"""Least sum of a channel's sensitivities over that of their magnitudes: 0.41 of sRGB in any CIE
light. Of less, as of a difference of channels, there is no white that it could be scaled by."""
_FITTED = re.compile("^# fitted to .*, in its light; white ", re.MULTILINE)
"""What `r2h camera fit` says in a camera's CSV."""
_ONE = 0.01
"""How far the sum of a row may be from 1."""
BRIGHTEST = 1000
"""Times white, in linear RGB, beyond which nothing is light."""
SRGB = "srgb"
"""Name of the camera of finished photographs: linear sRGB, by default under equal-energy white."""


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """How a spectrum becomes pixel values, and back to linear RGB."""

    name: str  # of a CSV with its ending
    wavelengths: tuple[float, ...]
    """nm."""
    sensitivities: Floats
    """(3, wavelengths); each row sums to 1, so a flat reflectance of 1 renders to (1, 1, 1)."""
    encoding: Encoding = "linear"
    white: White = 1.0
    """Pixel value that means reflectance 1, or one for each of red, green and blue."""
    ends: float | None = None
    """Pixel value at which sRGB's curve is 1, where the image says it; None: see `end`."""
    response: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Signal of each channel for a flat reflectance of 1, in the units of the camera's table."""

    def __post_init__(self) -> None:
        whites = self._whites.ravel().tolist()
        if len(whites) not in {1, 3} or not all(0 < white < math.inf for white in whites):
            rule = "white must be one positive, finite pixel value, or three"
            raise Refusal(rule, self.white, "Give --white.")
        if self.encoding not in get_args(Encoding):
            rule = f"an encoding is one of {get_args(Encoding)}"
            raise Refusal(rule, self.encoding, "Give --encoding.")
        seen = np.asarray(self.sensitivities)
        unlike = seen.shape != (3, len(self.wavelengths))
        if unlike or not (np.abs(seen.sum(axis=1) - 1) < _ONE).all():
            rule = f"sensitivities are (3, {len(self.wavelengths)}), each row of sum 1"
            found = f"{seen.shape}, sums {seen.sum(axis=-1).ravel()[:3].tolist()}"
            raise Refusal(rule, found, "Divide each row by its sum.")

    @property
    def _whites(self) -> Floats:
        """(1 or 3, 1, 1)."""
        return np.asarray(self.white, np.float32).reshape(-1, 1, 1)

    def render(self, cube: Floats) -> Floats:
        """Linear RGB (3, ...) of reflectance (wavelengths, ...), white = 1."""
        rgb: Floats = np.tensordot(self.sensitivities, cube, axes=1).astype(np.float32)
        return rgb

    def decode(self, values: NDArray[Any]) -> Floats:
        """Linear float32 RGB, white = 1, of pixel values (3, ...).

        Raises Refusal for values that no light can have: nodata that the file does not declare.
        And for more planes than red, green and blue, or fewer.
        """
        if len(values) != len(self.sensitivities):
            rule = "pixel values are (3, ...): red, green and blue first"
            raise Refusal(rule, values.shape, "Turn the axes, and leave alpha out.")
        if self.encoding == "srgb" and values.dtype == np.uint8:
            # 256 answers are known beforehand; a power of every pixel costs forty times as much.
            tables = self._light(np.arange(256, dtype=np.uint8)[None, None])[:, 0]
            light = np.stack([tables[i % len(tables)][plane] for i, plane in enumerate(values)])
            known = tables.max() <= BRIGHTEST
        else:
            light, known = self._light(values), False
        if known or not light.size:
            return light
        shares = values.astype(np.float32) / self._whites
        if not (shares.min() >= self.lowest and light.max() <= BRIGHTEST):
            raise self._no_light(values, shares)
        return light

    def _light(self, values: NDArray[Any]) -> Floats:
        """Linear, white = 1. In sRGB light is a multiple of white's, which pixel values are not."""
        if self.encoding == "linear":
            return values.astype(np.float32) / self._whites
        last = np.float32(self.end(values.dtype))
        refuse_beyond(values, last)
        return from_srgb(values.astype(np.float32) / last) / from_srgb(self._whites / last)

    def end(self, dtype: np.dtype[Any]) -> float:
        """The pixel value at which sRGB's curve is 1: as is said, else by `pipeline.curve.end`."""
        return self.ends or end(dtype, float(self._whites.max()))

    @property
    def lowest(self) -> float:
        """Share of white below which nothing is light.

        What no reflectance up to 1 renders to (below 0 for linear sRGB, whose reds have a negative
        lobe), less a quarter for noise and for an atmosphere that was taken off too well.
        """
        return float(np.minimum(self.sensitivities, 0).sum(axis=1).min()) - 0.25

    def _no_light(self, values: NDArray[Any], shares: Floats) -> Refusal:
        rule = f"pixel values lie between {self.lowest:.2g} and {BRIGHTEST} times white"
        odd = float(values.max() if shares.min() >= self.lowest else values.min())
        declared = f"gdal_edit.py -a_nodata {odd:.17g}"  # all digits: rounded it is another value
        fix = f"If that is nodata, say so with {declared}, else give --white."
        return Refusal(rule, f"{odd:g}, where white is {self.white}", fix)

    def top(self, dtype: np.dtype[Any]) -> Floats:
        """Linear values (3, 1, 1) at which pixel values of this type end; infinite: nobody knows.

        They end where sRGB's curve does; linear ones where the file says by its bits, else at white
        where that is 2^n - 1, as 255 or 4095, else at the type's largest value. Of floats that is
        none.
        """
        whites = self._whites
        most = np.float32(np.iinfo(dtype).max if dtype.kind in "ui" else np.inf)
        known = self.ends or np.where(full(whites), whites, most)
        last = self.end(dtype) if self.encoding == "srgb" else known
        light = self._light(np.broadcast_to(np.minimum(last, most), (3, 1, 1)).astype(dtype))
        # What is brighter is refused.
        return np.where(np.isinf(light), light, np.minimum(light, np.float32(BRIGHTEST)))

    def reading(self, encoding: Encoding, white: White, ends: float | None = None) -> "Camera":
        """The same camera for pixel values of this encoding and white."""
        return replace(self, encoding=encoding, white=white, ends=ends)


def library() -> list[str]:
    """Names of the cameras that come with the package."""
    names = [Path(entry.name).stem for entry in LIBRARY.iterdir() if entry.name.endswith(".csv")]
    names.remove(_OBSERVER)
    return sorted([SRGB, *names])


def source(name: str) -> str:
    """What is said of a library camera's origin."""
    if name == SRGB:
        return "IEC 61966-2-1 and CIE 1931: finished photographs"
    first = (LIBRARY / f"{name}.csv").read_text("utf-8").partition("\n")[0]
    return first.removeprefix("# ")


def load_camera(name: str | Path, light: Light | None = None) -> Camera:
    """A camera of the library by name, or of a CSV file by path, in a light (none: equal energy).

    The CSV has the columns wavelength_nm, red, green, blue: response to equal power at each, which
    of quantum efficiencies is their product with it. Lines that start with # are comments.
    What it sees in that light is balanced: a flat reflectance of 1 stays (1, 1, 1). In a light, a
    table's wider gaps are filled. Raises Refusal for a light on top of the one of a fitted camera.
    """
    name, light = os.fspath(name), light or load_light(EQUAL_ENERGY)
    if name == SRGB:
        return _linear_srgb(light)
    if is_csv(name):
        return _from_csv(Path(name).name, read_text(Path(name)), light)
    if name not in library():
        fix = f"Choose one of {', '.join(library())}, or give a CSV file."
        raise Refusal("the camera must be in the library or a CSV file", name, fix)
    return _from_csv(name, (LIBRARY / f"{name}.csv").read_text("utf-8"), light)


def _from_csv(name: str, text: str, light: Light) -> Camera:
    table = parse_table(name, text, COLUMNS)
    known, rows = table[:, 0], table[:, 1:].T
    if light.equal_energy:
        return _camera(name, known, rows)
    if _FITTED.search(text):
        rule = "a camera fitted to a picture of a chart includes that picture's light"
        raise Refusal(rule, f"{name} in {light.name} as well", "Leave --illuminant out.")
    # The light may have lines where the table has few rows: the library's are 10 nm apart.
    at = refined(known, widest=10)
    return _camera(name, at, linear(at, known, rows) * light.at(at))


def _camera(name: str, wavelengths: NDArray[np.float64], rows: NDArray[np.float64]) -> Camera:
    total = rows.sum(axis=1, keepdims=True)
    seen = total[:, 0] / np.maximum(np.abs(rows).sum(axis=1), np.finfo(float).tiny)
    if (seen < _POSITIVE).any():
        rule = f"a camera's channels must each see light, {_POSITIVE:.0%} of their magnitudes' sum"
        found = f"{name}, {COLUMNS[1:][seen.argmin()]} with {seen.min():.2%}"
        raise Refusal(rule, found, "Check its table: a difference, as Cb, has no white.")
    known, shares = tuple(wavelengths.tolist()), (rows / total).astype(np.float32)
    red, green, blue = total[:, 0].tolist()
    return Camera(name, known, shares, response=(red, green, blue))


def _linear_srgb(light: Light) -> Camera:
    """Linear sRGB of reflectances in a light, whose white is adapted to D65 (Bradford)."""
    observer = parse_table(_OBSERVER, (LIBRARY / f"{_OBSERVER}.csv").read_text("utf-8"), COLUMNS)
    xyz = observer[:, 1:].T * light.at(observer[:, 0])
    return _camera(SRGB, observer[:, 0], srgb_of(xyz))


def resampled(camera: Camera, wavelengths: tuple[float, ...]) -> Camera:
    """The camera at other wavelengths (nm), which its table must span.

    Raises Refusal where it does not, and where over 5 % of a channel's response is lost beyond both
    these and 400 to 700 nm.
    """
    if camera.wavelengths == wavelengths:
        return camera
    known = np.asarray(camera.wavelengths)
    wanted = np.asarray(wavelengths)
    if wanted[0] < known[0] or wanted[-1] > known[-1]:
        span = f"{camera.name} at {known[0]:g} to {known[-1]:g} nm"
        fix = f"Give a table from {wanted[0]:g} to {wanted[-1]:g} nm."
        raise Refusal("a camera's table must span the model's wavelengths", span, fix)
    table = camera.sensitivities * np.array(camera.response)[:, None]
    low, high = min(wanted[0], _SPAN[0]), max(wanted[-1], _SPAN[1])
    lost = outside(known, table, low, high)
    if lost.max() > _OUTSIDE:
        within = f"within {low:g} to {high:g} nm, to {1 - _OUTSIDE:.0%} at least"
        rule = f"a camera's channels must respond {within}"
        found = f"{camera.name}, {COLUMNS[1:][lost.argmax()]} with {lost.max():.1%} outside"
        fix = "Give its table with its infrared-cut filter, or cut it where the light really ends."
        raise Refusal(rule, found, fix)
    rows = averaged(known, table, wanted)
    return _camera(camera.name, wanted, rows).reading(camera.encoding, camera.white, camera.ends)
