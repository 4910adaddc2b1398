"""Measured reflectances, and crops moved by them: materials that few scenes do not hold."""

from pathlib import Path

import numpy as np

from pipeline.camera import Floats
from pipeline.errors import Refusal, parsed

PAINTS = 6
"""Materials that a repainted crop is divided into."""
ALIKE = 0.01
"""Mean square difference of two hues that may be one material's: shading and noise."""
FULL = 1.2
"""What no measured reflectance goes beyond."""
DARK = 0.02
"""Reflectance below which a pixel's hue is noise, so that dark pixels count as one material."""


def measured_reflectances(path: Path, wavelengths: tuple[float, ...]) -> Floats:
    """Reflectances (n, bands) of an .npz: ``wavelength_nm`` and one (m, bands) array a collection.

    Collections whose name says SIMULATED, and spectra that reflect next to nothing, are left out.
    Raises Refusal for a file that is none, or is at other wavelengths.
    """
    rule, fix = "reflectances must be an .npz at the model's wavelengths", "Choose another file."
    with parsed(rule, path, fix):
        with path.open("rb") as file, np.load(file) as held:
            known = tuple(held["wavelength_nm"].tolist())
            tables = [held[name] for name in held.files if "SIMULATED" not in name]
        if known != wavelengths:
            raise Refusal(rule, f"{path} at {known[0]:g} to {known[-1]:g} nm", fix)
        spectra: Floats = np.concatenate([t for t in tables if t.ndim == 2]).astype(np.float32)
    if spectra.shape[1] != len(known):
        raise Refusal(rule, f"{path} with spectra of {spectra.shape[1]} values", fix)
    if not (spectra.min() >= 0 and spectra.max() <= FULL):  # powers of lights, sensitivities
        found = f"{path} from {spectra.min():g} to {spectra.max():g}"
        raise Refusal(f"reflectances are from 0 to {FULL:g}", found, fix)
    bright: Floats = spectra[spectra.mean(axis=1) > DARK]
    return bright


def repaint(cube: Floats, materials: Floats, random: np.random.Generator) -> Floats:
    """The cube (bands, height, width) with its materials exchanged for some of (n, bands).

    Every pixel shares itself out to six pixels of other hues, and moves by the difference between
    the measured material that each of the six becomes and what it was. Brightness, texture and
    noise stay; a pixel like one of the six takes that material's hue.
    """
    spectra = cube.reshape(len(cube), -1)
    size = spectra.mean(axis=0) + DARK
    hues = spectra / size
    old = _centres(hues, random)
    new = materials[random.integers(len(materials), size=PAINTS)].T
    new = new * (old.mean(axis=0) / new.mean(axis=0))
    moved = spectra + size * ((new - old) @ _shares(hues, old))
    painted: Floats = np.maximum(moved, 0).astype(np.float32).reshape(cube.shape)
    return painted


def _centres(hues: Floats, random: np.random.Generator) -> Floats:
    """(bands, centres) of hues (bands, pixels), far apart (k-means++, Arthur, Vassilvitskii 2007).

    Drawn evenly, most would be the background's, and its noise would decide between materials.
    """
    chosen = hues[:, [random.integers(hues.shape[1])]]
    while chosen.shape[1] < PAINTS:
        # A little more than nothing, for a crop of one hue.
        away = _distances(hues, chosen).min(axis=0).astype(np.float64) + 1e-9
        chosen = np.hstack([chosen, hues[:, [random.choice(len(away), p=away / away.sum())]]])
    return chosen


def _distances(hues: Floats, centres: Floats) -> Floats:
    """(centres, pixels): mean squared differences."""
    crossed = centres.T @ hues
    squares = (centres**2).sum(axis=0)[:, None] - 2 * crossed + (hues**2).sum(axis=0)
    whole: Floats = np.maximum(squares, 0) / len(hues)
    return whole


def _shares(hues: Floats, centres: Floats) -> Floats:
    """(centres, pixels), summing to 1: a softmax of the distance, in units of the usual nearest.

    Centres that are alike share their pixels evenly, or noise would decide between them.
    """
    distance = _distances(hues, centres)
    nearest = distance.min(axis=0)
    shares = np.exp((nearest - distance) / max(nearest.mean(), ALIKE))
    whole: Floats = shares / shares.sum(axis=0)
    return whole


def metameric(
    cube: Floats, sensitivities: Floats, materials: Floats, random: np.random.Generator
) -> Floats:
    """The cube (bands, height, width) as other spectra that a camera (3, bands) sees alike.

    All move one way, each as far as it is bright: by the difference of two measured materials of
    (n, bands), less what the camera sees of it, a metameric black (Cohen and Kappauf 1982). A pixel
    stops where it would leave, at any wavelength, the range of the materials at its brightness, or
    go beyond the brightest of them.
    """
    seen = sensitivities.astype(np.float64)
    hues = materials / (materials @ seen.T).mean(axis=1, keepdims=True)
    one, other = hues[random.integers(len(hues), size=2)]
    black = other - one - np.linalg.pinv(seen) @ (seen @ (other - one))
    spectra = cube.reshape(len(cube), -1).astype(np.float64)
    bright = np.maximum(seen.mean(axis=0) @ spectra, 0)
    step = np.outer(black, bright)
    ends = np.where(black > 0, hues.max(axis=0), hues.min(axis=0))
    brightest = np.maximum(materials.max(axis=0)[:, None], spectra)
    room = np.minimum(np.outer(ends, bright), brightest) - spectra
    share = np.divide(room, step, out=np.ones_like(step), where=step != 0).min(axis=0)
    moved: Floats = (spectra + np.clip(share, 0, 1) * step).astype(np.float32)
    return moved.reshape(cube.shape)
