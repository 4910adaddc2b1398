"""Cubes of one's own, to score or to train on: a folder of NAME.npz."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.camera import BRIGHTEST, Floats
from pipeline.errors import Refusal, parsed
from pipeline.reference import DataSet, Folder, NoLayout, Reference

_RULE = "a cube of one's own is an .npz of `cube` (row, column, band) and `wavelength_nm`"
_FIX = "Save it with numpy.savez."
APART = 50.0
"""nm between bands at most: a straight line would bridge a wider gap for measured."""
NOISE = 1.0
"""Of the scale, how far below 0 noise may reach; nodata, as -9999, lies farther."""
DARK = 0.02
"""Of the scale, what the darkest surfaces reflect: 1 %, where its own surface reflects half."""


def own(root: str | Path, wavelengths: tuple[float, ...]) -> DataSet:
    """The cubes in a folder, at ``wavelengths`` (nm), which their own must span.

    Between its bands a spectrum is taken for straight. Each cube is divided by its 99th percentile,
    as what its numbers mean is not said, and negative values are set to 0. Raises Refusal where
    there is none, and for a cube with gaps in its spectra or nodata in its pixels.
    """
    folder = Folder(root)
    paths = {name.removesuffix(".npz"): name for name in folder.names() if name.endswith(".npz")}
    if not paths:
        raise NoLayout(_RULE, f"none in {root}", _FIX)

    def read(name: str) -> Reference:
        cube = _cube(folder, paths[name], np.array(wavelengths))
        return Reference(name, cube, wavelengths, np.ones(cube.shape[1:], bool))

    return DataSet("own", wavelengths, paths, {}, read)


def reflectance_of(radiance: Floats, sunlight: NDArray[np.float64]) -> Floats:
    """What surfaces reflect, of a cube (wavelengths, h, w) of what came in at an aircraft.

    The air's own light is what the darkest pixels of a band have beyond what they reflect; what is
    left is divided by ``sunlight`` (wavelengths,). That is dark-object subtraction (Chavez, Remote
    Sensing of Environment 24, 1988) band by band, with nothing for what the air absorbs. On the
    scale of its 99th percentile, as its radiance is.
    """
    power = (sunlight / sunlight.mean())[:, None, None]
    dark = np.percentile(radiance, 1, axis=(1, 2))[:, None, None]
    surfaces = np.maximum(radiance - np.maximum(dark - DARK * power, 0), 0) / power
    reflectance: Floats = (surfaces / np.percentile(surfaces, 99)).astype(np.float32)
    return reflectance


def _cube(folder: Folder, name: str, wanted: np.ndarray) -> Floats:
    with parsed(_RULE, name, _FIX), folder.open(name) as file, np.load(file) as held:
        arrays = held["cube"], held["wavelength_nm"]
        values, nm = (array.astype(np.float64, casting="same_kind") for array in arrays)
    if values.ndim != 3 or nm.shape != values.shape[2:] or not values.size:
        raise Refusal(_RULE, f"{name} of {values.shape} and {nm.shape}", _FIX)
    if not (nm.min() <= wanted[0] and nm.max() >= wanted[-1]):
        found = f"{name} from {nm.min():g} to {nm.max():g} nm"
        raise Refusal(f"a cube spans {wanted[0]:g} to {wanted[-1]:g} nm", found, "Leave it out.")
    # Spectrometers of one instrument may overlap, so that wavelengths do not ascend.
    if len(np.unique(nm)) < len(nm):
        raise Refusal("a cube's bands differ in wavelength", name, "Leave out what is there twice.")
    order = np.argsort(nm)
    nm, values = nm[order], values[..., order]
    near = nm[(nm >= nm[nm <= wanted[0]].max()) & (nm <= nm[nm >= wanted[-1]].min())]
    if (gap := np.diff(near).max(initial=0)) > APART:
        rule = f"a cube's bands in {wanted[0]:g} to {wanted[-1]:g} nm lie within {APART:g} nm"
        raise Refusal(rule, f"{gap:g} nm in {name}", "Leave it out.")
    above = np.clip(np.searchsorted(nm, wanted), 1, len(nm) - 1)
    share = (wanted - nm[above - 1]) / (nm[above] - nm[above - 1])
    spectra = values[..., above - 1] * (1 - share) + values[..., above] * share
    # No spectrum is one number: what is, is nodata, or beyond what the instrument could count.
    if flat := int((spectra == spectra[..., :1]).all(axis=2).sum()):
        found, fix = f"{flat} pixels of {name} with one value in all bands", "Cut it away."
        raise Refusal("a cube of one's own has no nodata", found, fix)
    scale = np.percentile(spectra, 99)
    if not scale > 0 or not np.isfinite(spectra).all():
        raise Refusal("a cube's spectra are finite and reflect something", name, "Leave it out.")
    if (low := spectra.min()) < -NOISE * scale:
        rule, fix = "a cube of one's own has no nodata", "Cut it away, or fill it from beside."
        raise Refusal(rule, f"{low:g} in {name}, where 99 % are below {scale:g}", fix)
    if (most := spectra.max()) > BRIGHTEST * scale:
        rule, fix = f"no value is {BRIGHTEST} times brighter than 99 % are", "Cut it away."
        raise Refusal(rule, f"{most:g} in {name}, where 99 % are below {scale:g}", fix)
    cube: Floats = np.maximum(spectra / scale, 0).astype(np.float32)
    return np.ascontiguousarray(cube.transpose(2, 0, 1))
