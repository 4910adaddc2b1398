"""How well and how soon colours that are hard are closed: ``python -m benchmarks.closing``.

By every camera of the library: colours at the border of what there is (one wavelength alone, all as
bright as can be but one, or on one side), and colours that no spectrum has (around the middle, and
beside the most saturated). Answers are near, or anything. Prints how many stay open and how far off
the farthest is; how much farther than the least distance (scipy's `lsq_linear`) those are that no
spectrum has, median and most; and processor time a pixel. Two minutes on a quiet core.
"""

import time

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear
from threadpoolctl import threadpool_limits

from pipeline.camera import Floats, library, load_camera, resampled
from pipeline.closure import Closure
from pipeline.layout import PEAK
from pipeline.nearest import CLOSED

WAVELENGTHS = tuple(float(nm) for nm in range(400, 701, 10))
COUNT = 100
"""Colours that no spectrum has, of each camera."""
Doubles = NDArray[np.float64]


def border() -> Doubles:
    """Spectra (31, n) whose colours have no other, or hardly."""
    one, side = np.eye(31), np.tri(31)
    lines = [one * level for level in (0.001, 1, PEAK)]
    return np.concatenate([*lines, *(PEAK - line for line in lines), PEAK * side, PEAK * side.T], 1)


def around(random: np.random.Generator, s: Floats) -> Floats:
    """Colours (3, COUNT) most of which no spectrum has."""
    lines = np.eye(31)[:, random.integers(31, size=COUNT)] * PEAK * random.random(COUNT)
    beside = s @ lines + random.normal(0, 0.01, (3, COUNT))
    which = random.random(COUNT) < 0.5
    return np.where(which, random.normal(0, 0.3, (3, COUNT)), beside).astype(np.float32)


def answers(random: np.random.Generator, near: Doubles) -> Floats:
    """What a network may answer for spectra (31, n): near them, and anything."""
    kinds = near + random.normal(0, 0.1, near.shape), random.normal(0, 1000, near.shape)
    return np.where(random.random(near.shape[1]) < 0.5, *kinds).astype(np.float32)


def main() -> None:
    """Measure, and print."""
    left, beyond, spent = list[Floats](), list[Doubles](), 0.0
    for name in library():
        random = np.random.default_rng(0)
        s = resampled(load_camera(name), WAVELENGTHS).sensitivities
        closure, outside = Closure(s), around(random, s)
        outside = outside[:, closure.outside(outside)]
        exact = s.astype(np.float64), outside.astype(np.float64)
        best = np.array([lsq_linear(exact[0], rgb, (0, PEAK), "bvls").x for rgb in exact[1].T]).T
        truth = np.concatenate([border(), best], axis=1)
        rgb = np.concatenate([(s @ border()).astype(np.float32), outside], axis=1)
        start, began = answers(random, truth), time.process_time()
        found = closure.closed(start, rgb).astype(np.float64)
        spent += time.process_time() - began
        inside = rgb.shape[1] - outside.shape[1]
        left.append(np.abs(exact[0] @ found - rgb)[:, :inside].max(axis=0))
        far = [np.linalg.norm(exact[0] @ of - exact[1], axis=0) for of in (found[:, inside:], best)]
        beyond.append(far[0] - far[1])
    off, more = np.concatenate(left), np.concatenate(beyond)
    print(f"border: {(off > 1.5 * CLOSED).sum()} of {off.size} open, the farthest {off.max():.1e}")
    print(f"none has: {more.size}, farther by {np.median(more):.0e} and {more.max():.0e} at most")
    print(f"{1e6 * spent / (off.size + more.size):.0f} us a pixel")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
