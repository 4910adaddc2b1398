"""A stored cube and its reference, where they share wavelengths."""

import numpy as np

from flows.learn_settings import EvaluateSettings
from pipeline.camera import SRGB, Floats, load_camera, resampled
from pipeline.cube import SpectralCube
from pipeline.grid import Window
from pipeline.picture import Pixels, true_colour
from pipeline.reference import Reference
from pipeline.scores import PROTOCOLS, Scores


def scored(cube: SpectralCube, reference: Reference, settings: EvaluateSettings) -> Scores:
    """A stored cube's scores at the wavelengths it shares with its reference, chunk row by row."""
    protocol = PROTOCOLS[settings.protocol]
    shared, chosen = _shared(cube, reference)
    truth = reference.at(shared)
    rows, cols = (protocol.rows(size) for size in truth.shape[1:])
    scores = Scores(len(shared), protocol.floor)
    for row in range(rows.start, rows.stop, settings.chunk):
        part = slice(row, min(row + settings.chunk, rows.stop))
        window = Window(row, cols.start, part.stop - row, cols.stop - cols.start)
        estimate, _ = cube.read(window)
        scores.add(estimate[chosen], truth[:, part, cols], reference.valid[part, cols])
    return scores


def _shared(cube: SpectralCube, reference: Reference) -> tuple[tuple[float, ...], list[int]]:
    """The wavelengths that both have, nm, and which of the cube's they are."""
    shared = tuple(w for w in reference.wavelengths if w in cube.wavelengths)
    return shared, [cube.wavelengths.index(w) for w in shared]


def compared(cube: SpectralCube, reference: Reference) -> tuple[Floats, Floats]:
    """Cube and reference (wavelength, row, col) where they share wavelengths, NaN where invalid."""
    shared, chosen = _shared(cube, reference)
    estimate, _ = cube.read(Window(0, 0, cube.height, cube.width))
    return estimate[chosen], np.where(reference.valid, reference.at(shared), np.float32(np.nan))


def true_colours(cube: SpectralCube, reference: Reference) -> Pixels:
    """The reference as the eye sees it, at the wavelengths that it shares with the cube."""
    shared, _ = _shared(cube, reference)
    truth = np.where(reference.valid, reference.at(shared), np.float32(np.nan))
    return true_colour(resampled(load_camera(SRGB), shared))(truth).transpose(1, 2, 0)
