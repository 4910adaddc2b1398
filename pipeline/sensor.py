"""Bands of other sensors, out of a cube's wavelengths."""

from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refusal
from pipeline.table import WAVELENGTH, header, is_csv, linear, outside, parse_table, read_text

SENSORS = {
    "sentinel-2a": {f"B{n}": f"S2A_MSI_{n:02}" for n in (1, 2, 3, 4)},
    "sentinel-2b": {f"B{n}": f"S2B_MSI_{n:02}" for n in (1, 2, 3, 4)},
    "landsat-8": {f"B{n}": f"LANDSAT_OLI_B{n}" for n in (1, 2, 3, 4, 8)},
    "modis-terra": {f"B{n}": f"ACCURATE_MODIS_TERRA_{n}" for n in (1, 3, 4, *range(8, 15))},
    "modis-aqua": {f"B{n}": f"ACCURATE_MODIS_AQUA_{n}" for n in (1, 3, 4, *range(8, 15))},
}
"""Of each sensor the bands that lie within 400 to 700 nm, with their names in Py6S."""
_STEP = 2.5
"""nm between the values of a response function in Py6S."""
_OUTSIDE = 0.01
"""Largest share of a band's response beyond the cube's wavelengths."""
_BELOW = 0.01
"""Of a band's largest response, how far others may be below 0: noise of a measurement."""
_GAUSS = np.array([-1, 1]) / np.sqrt(3)
"""Points of [-1, 1] whose mean is that of any cubic over it."""
_TAIL = 2.0
"""Widths at half maximum to either side after which a Gaussian's response is nothing: 1e-5."""


Response = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Wavelengths, nm, and how a band responds there."""


class Sensor(NamedTuple):
    """Bands as weighted means of a cube's wavelengths, by rising centre."""

    name: str
    bands: tuple[str, ...]
    centres: NDArray[np.float64]
    """(bands,) mean wavelength of each response, nm."""
    fwhm: NDArray[np.float64]
    """(bands,) full width of each response at half its maximum, nm."""
    weights: NDArray[np.float32]
    """(bands, wavelengths), rows that sum to 1."""


def load_sensor(name: str, wavelengths: tuple[float, ...]) -> Sensor:
    """A sensor by name, or of a CSV of response functions: wavelength_nm, then a column a band.

    A band is the integral of spectrum times response over that of the response: the spectrum
    linear between the ``wavelengths`` (nm) of the cube, the response between the table's rows and
    nothing beyond them. Raises Refusal for a table without these columns, and for a band that
    responds beyond the cube's wavelengths, or below 0.
    """
    if is_csv(name):
        return _sensor(Path(name).name, *_of_csv(Path(name)), wavelengths)
    if name not in SENSORS:
        fix = f"Choose one of {', '.join(SENSORS)}, or give a CSV file."
        raise Refusal("the sensor must be known, or a CSV of response functions", name, fix)
    known = _predefined()
    responses = [_response(*getattr(known, key)[1:]) for key in SENSORS[name].values()]
    return _sensor(name, list(SENSORS[name]), responses, wavelengths)


def _of_csv(path: Path) -> tuple[list[str], list[Response]]:
    """Bands and their responses. Raises Refusal where the first line does not name them."""
    text = read_text(path)
    first, *bands = header(text) or [""]
    # A first line of numbers would be taken for names, and its row lost.
    if first != WAVELENGTH or not bands or not all(bands):
        rule = f"a CSV of responses begins with {WAVELENGTH}, then a name for each band"
        found = f"{','.join([first, *bands])!r} in {path.name}"
        raise Refusal(rule, found, f"Put {WAVELENGTH},B1,... above its rows, wavelengths in nm.")
    table = parse_table(path.name, text, [first, *bands])
    return bands, [(table[:, 0], column) for column in table[:, 1:].T]


def gaussian_bands(text: str, wavelengths: tuple[float, ...]) -> Sensor:
    """Bands of Gaussian response: centre:FWHM in nm, with commas between them.

    Raises Refusal for other text, for bands narrower than the cube's own, and as `load_sensor`.
    """
    step = float(np.diff(wavelengths).max())
    try:
        pairs = [(float(nm), float(fwhm)) for nm, fwhm in (b.split(":") for b in text.split(","))]
        if not all(np.isfinite(nm) for nm, _ in pairs):
            raise ValueError
    except ValueError:
        fix = "Give centre:FWHM in nm, as 490:65,560:35."
        raise Refusal("bands must be pairs of numbers", text, fix) from None
    if not all(step <= fwhm < np.inf for _, fwhm in pairs):
        rule = f"a band must be {step:g} nm wide or wider, as the cube's own are"
        raise Refusal(rule, text, "Give a larger FWHM.")
    offsets = np.linspace(-_TAIL, _TAIL, 401)
    response = np.exp(-4 * np.log(2) * offsets**2)
    responses = [(nm + fwhm * offsets, response) for nm, fwhm in pairs]
    return _sensor("gaussian", [f"{nm:g} nm" for nm, _ in pairs], responses, wavelengths)


def _predefined() -> object:
    try:
        known: object = import_module("Py6S").PredefinedWavelengths
    except ImportError:
        fix = "pip install 'r2h[sensors]', or give a CSV of response functions."
        raise Refusal("sensors by name come with Py6S", "no such", fix) from None
    return known


def _response(start: float, _stop: float, values: NDArray[np.float64]) -> Response:
    at = 1000 * start + _STEP * np.arange(len(values), dtype=np.float64)
    return at, np.asarray(values, np.float64)


def _sensor(
    name: str, bands: list[str], responses: list[Response], wavelengths: tuple[float, ...]
) -> Sensor:
    about = [_about(f"{name} {b}", r, wavelengths) for b, r in zip(bands, responses, strict=True)]
    centres, widths, rows = (np.array(column) for column in zip(*about, strict=True))
    order = centres.argsort()
    if not (np.diff(centres[order]) > 0).all():
        rule, fix = "bands differ in their centres, by which they are found", "Leave one out."
        raise Refusal(rule, f"{name} with {sorted(centres.round(3).tolist())} nm", fix)
    named = tuple(bands[i] for i in order)
    return Sensor(name, named, centres[order], widths[order], rows[order].astype(np.float32))


def _about(
    band: str, measured: Response, wavelengths: tuple[float, ...]
) -> tuple[float, float, NDArray[np.float64]]:
    """Centre, full width at half maximum, and weights of a band."""
    at, response = measured
    if response.min() < -_BELOW * response.max():
        rule, fix = "a band's response must be 0 or more, but for noise", "Check its column."
        raise Refusal(rule, f"{response.min():g} in {band}", fix)
    low, high = wavelengths[0], wavelengths[-1]
    knots = np.union1d(at, wavelengths)
    knots = knots[(knots >= max(low, at[0])) & (knots <= min(high, at[-1]))]
    # Between knots spectrum and response are straight: two points (Gauss) integrate their product.
    half = np.diff(knots)[:, None] / 2
    points = (knots[:-1, None] + half * (1 + _GAUSS)).ravel()
    share = (half * np.interp(points, at, response).reshape(-1, 2)).ravel()
    if share.sum() <= 0 or outside(at, response, low, high) > _OUTSIDE:
        rule = f"a band must respond within {low:g} to {high:g} nm, to {1 - _OUTSIDE:.0%} at least"
        raise Refusal(rule, band, "Leave the band out.")
    share /= share.sum()
    # What each wavelength of the cube gives to the value at each point.
    weights = linear(points, np.array(wavelengths), np.eye(len(wavelengths))) @ share
    return float(share @ points), _width(at, response), weights


def _width(at: NDArray[np.float64], response: NDArray[np.float64]) -> float:
    """Between the outermost half maxima (nm), linear between the table's values."""
    return -_rise(-at[::-1], response[::-1]) - _rise(at, response)


def _rise(at: NDArray[np.float64], response: NDArray[np.float64]) -> float:
    """Where a response first reaches half its maximum."""
    half = response.max() / 2
    first = int(np.argmax(response >= half))
    around = slice(max(first - 1, 0), first + 1)
    return float(np.interp(half, response[around], at[around]))
