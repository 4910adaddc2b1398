"""What an image's pixel values mean: sensitivities, encoding and white."""

import csv
import math
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refusal

Encoding = Literal["srgb", "linear"]
Floats = NDArray[np.float32]

LIBRARY = files("configs") / "cameras"
_OBSERVER = "cie1931"
SRGB = "srgb"
"""Name of the camera of finished photographs: linear sRGB under equal-energy white."""

# IEC 61966-2-1: linear sRGB from CIE XYZ under D65.
_SRGB_FROM_XYZ = np.array(
    [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
)
# Cone responses of the Bradford transform, by which a white is adapted to another.
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_D65 = np.array([0.95047, 1.0, 1.08883])


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """How a spectrum becomes pixel values, and back to linear RGB."""

    name: str
    wavelengths: tuple[float, ...]
    """nm."""
    sensitivities: Floats
    """(3, wavelengths); each row sums to 1, so a flat reflectance of 1 renders to (1, 1, 1)."""
    encoding: Encoding = "linear"
    white: float = 1.0
    """Pixel value that means reflectance 1."""
    response: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Signal of each channel for a flat reflectance of 1, in the units of the camera's table."""

    def __post_init__(self) -> None:
        if not 0 < self.white < math.inf:
            raise Refusal(
                "white must be a positive, finite pixel value", self.white, "Give --white."
            )

    def render(self, cube: Floats) -> Floats:
        """Linear RGB (3, ...) of reflectance (wavelengths, ...), white = 1."""
        rgb: Floats = np.tensordot(self.sensitivities, cube, axes=1).astype(np.float32)
        return rgb

    def decode(self, values: NDArray[Any]) -> Floats:
        """Linear float32 RGB, white = 1, of pixel values (3, ...).

        Raises Refusal for values that no light can have: nodata that the file does not declare.
        """
        if self.encoding == "linear":
            return _plausible(values.astype(np.float32) / np.float32(self.white))
        if values.dtype == np.uint8:
            # 256 answers are known beforehand; a power of every pixel costs forty times as much.
            table = _from_srgb(np.arange(256, dtype=np.float32) / np.float32(self.white))
            linear: Floats = table[values]
            return linear
        return _plausible(_from_srgb(values.astype(np.float32) / np.float32(self.white)))

    def reading(self, encoding: Encoding, white: float) -> "Camera":
        """The same camera for pixel values of this encoding and white."""
        return replace(self, encoding=encoding, white=white)


def _plausible(linear: Floats) -> Floats:
    if linear.size and not (linear.min() >= -1 and linear.max() <= 1000):
        found = f"{linear.min():g} to {linear.max():g}"
        fix = "Give --white, or declare the nodata value with gdal_edit -a_nodata."
        raise Refusal("linear RGB must lie between -1 and 1000 times white", found, fix)
    return linear


def _from_srgb(value: Floats) -> Floats:
    """IEC 61966-2-1 transfer function, encoded to linear."""
    # In float64, whose last bits, which differ between machines, the rounding hides.
    exact = value.astype(np.float64)
    bent = ((np.maximum(exact, 0) + 0.055) / 1.055) ** 2.4
    return np.where(exact <= 0.04045, exact / 12.92, bent).astype(np.float32)


def to_srgb(linear: Floats) -> Floats:
    """IEC 61966-2-1 transfer function, linear to encoded; clips to [0, 1]."""
    value = np.clip(linear, 0, 1)
    bent = np.float32(1.055) * value ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.where(value <= 0.0031308, value * np.float32(12.92), bent).astype(np.float32)


def library() -> list[str]:
    """Names of the cameras that come with the package."""
    names = [Path(entry.name).stem for entry in LIBRARY.iterdir() if entry.name.endswith(".csv")]
    names.remove(_OBSERVER)
    return sorted([SRGB, *names])


def load_camera(name: str) -> Camera:
    """A camera of the library by name, or of a CSV file by path.

    The CSV has the columns wavelength_nm, red, green, blue; lines that start with # are comments.
    """
    if name == SRGB:
        return _linear_srgb()
    if name.endswith(".csv"):
        return _from_csv(Path(name).stem, _read(Path(name)))
    if name not in library():
        fix = f"Choose one of {', '.join(library())}, or give a CSV file."
        raise Refusal("the camera must be in the library or a CSV file", name, fix)
    return _from_csv(name, (LIBRARY / f"{name}.csv").read_text("utf-8"))


def _read(path: Path) -> str:
    try:
        # A spreadsheet begins its CSV with a byte order mark.
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal("a camera's CSV must be a readable text file", error, "Check it.") from error


def _table(name: str, text: str) -> NDArray[np.float64]:
    """(wavelengths, 4): wavelength_nm, red, green, blue."""
    fix = "Give columns wavelength_nm,red,green,blue with a number in each cell."
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    try:
        columns = ("wavelength_nm", "red", "green", "blue")
        table = np.array([[float(row[c]) for c in columns] for row in rows])
    except (KeyError, TypeError, ValueError) as error:
        found = f"{name}: {error!r}"
        raise Refusal("a camera's CSV must be a table of numbers", found, fix) from None
    if len(table) < 3 or not np.isfinite(table).all() or (np.diff(table[:, 0]) <= 0).any():
        rule = "a camera's CSV must have 3 or more rows of finite numbers, at rising wavelengths"
        raise Refusal(rule, f"{len(table)} rows in {name}", fix)
    return table


def _from_csv(name: str, text: str) -> Camera:
    table = _table(name, text)
    return _camera(name, table[:, 0], table[:, 1:].T)


def _camera(name: str, wavelengths: NDArray[np.float64], rows: NDArray[np.float64]) -> Camera:
    total = rows.sum(axis=1, keepdims=True)
    if (total <= 0).any():
        raise Refusal("a camera's channels must each see light", name, "Check its table.")
    known, shares = tuple(wavelengths.tolist()), (rows / total).astype(np.float32)
    red, green, blue = total[:, 0].tolist()
    return Camera(name, known, shares, response=(red, green, blue))


def _linear_srgb() -> Camera:
    """Linear sRGB of reflectances under equal-energy white, adapted to D65 (Bradford)."""
    observer = _table(_OBSERVER, (LIBRARY / f"{_OBSERVER}.csv").read_text("utf-8"))
    xyz = observer[:, 1:].T / observer[:, 2].sum()
    to_d65 = np.diag((_BRADFORD @ _D65) / (_BRADFORD @ xyz.sum(axis=1)))
    rows = _SRGB_FROM_XYZ @ np.linalg.inv(_BRADFORD) @ to_d65 @ _BRADFORD @ xyz
    return _camera(SRGB, observer[:, 0], rows)


def resampled(camera: Camera, wavelengths: tuple[float, ...]) -> Camera:
    """The camera at other wavelengths (nm), which its table must span; linear in between."""
    if camera.wavelengths == wavelengths:
        return camera
    known = np.asarray(camera.wavelengths)
    wanted = np.asarray(wavelengths)
    if wanted[0] < known[0] or wanted[-1] > known[-1]:
        span = f"{camera.name} at {known[0]:g} to {known[-1]:g} nm"
        fix = f"Give a table from {wanted[0]:g} to {wanted[-1]:g} nm."
        raise Refusal("a camera's table must span the model's wavelengths", span, fix)
    table = camera.sensitivities * np.array(camera.response)[:, None]
    rows = np.stack([np.interp(wanted, known, row) for row in table])
    return replace(_camera(camera.name, wanted, rows), encoding=camera.encoding, white=camera.white)
