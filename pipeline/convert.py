"""A cube on its way out: in the bands of another sensor, as radiance in a light."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.cube import unpack
from pipeline.labels import Labels, Parts
from pipeline.light import Light
from pipeline.sensor import Sensor


def convert(
    labels: Labels, parts: Parts, sensor: Sensor | None = None, light: Light | None = None
) -> tuple[Labels, Parts]:
    """Labels and values of a cube in a sensor's bands, in a light, or both: float32.

    In a light, values are what a surface sends back, relative to what a white one does in the mean
    over the cube's wavelengths. Divided by ``settings['export']['white']``, what a white one sends
    back in each band, they are reflectance again.
    """
    matrix = np.eye(len(labels.wavelengths)) if sensor is None else sensor.weights
    power = None if light is None else light.at(np.array(labels.wavelengths))
    about: dict[str, Any] = {}
    if sensor is not None:
        # A file's n-th band may not be the sensor's: they lie by wavelength.
        about |= {"sensor": sensor.name, "bands": list(sensor.bands)}
        centres, widths = tuple(sensor.centres.tolist()), tuple(sensor.fwhm.tolist())
        labels = replace(labels, wavelengths=centres, fwhm=widths, bands=sensor.bands)
    if light is not None and power is not None:
        about |= {"illuminant": light.name, "white": (matrix @ power).tolist()}
        labels, matrix = replace(labels, quantity="radiance"), matrix * power
    settings = {**labels.settings, "export": about}
    return replace(labels, dtype="float32", scale=1.0, settings=settings), _seen(
        matrix.astype(np.float32), parts
    )


def _seen(matrix: np.ndarray[Any, np.dtype[np.float32]], parts: Parts) -> Parts:
    for part, raw in parts:
        yield part, np.tensordot(matrix, unpack(raw)[0], axes=1)
