"""What RGB cannot tell: ``python -m benchmarks.metamers MEASURED.npz [CAMERA ...]``.

Pairs of measured reflectances that a camera sees alike (each channel within 0.005) yet whose
spectra differ: no method that looks at one pixel can tell them apart. Prints, for each camera, how
far the spectra of such pairs lie apart: root mean square over wavelengths, median, 90th percentile
and worst; the spectral angle; and where in the spectrum the difference sits.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from pipeline.camera import Floats, load_camera
from pipeline.materials import measured_reflectances

ALIKE = 0.005
"""Largest difference of a channel, of white = 1: about the noise of a good photograph."""
CAMERAS = ("srgb", "basler-a2a5320-23uc", "nikon-d700")


def metamers(reflectances: Floats, name: str) -> tuple[Floats, Floats]:
    """Spectra (pairs, wavelengths) of the first and of the second of each pair."""
    camera = load_camera(name)
    seen = camera.render(reflectances.T).T
    pairs = cKDTree(seen).query_pairs(ALIKE, p=np.inf, output_type="ndarray")
    return reflectances[pairs[:, 0]], reflectances[pairs[:, 1]]


def main() -> None:
    """Print a row a camera."""
    path, *names = sys.argv[1:]
    # Compilations overlap: the same sample twice is no pair of metamers.
    reflectances = np.unique(
        measured_reflectances(Path(path), load_camera("srgb").wavelengths).round(4), axis=0
    )
    print(f"{len(reflectances)} measured reflectances")
    for name in names or CAMERAS:
        a, b = metamers(reflectances, name)
        apart = np.sqrt(((a - b) ** 2).mean(axis=1))
        cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        median, high = np.percentile(apart, (50, 90))
        where = np.sqrt(((a - b) ** 2).mean(axis=0))
        nm = load_camera(name).wavelengths
        print(
            f"{name}: {len(apart)} pairs; RMS {median:.4f} (90 % {high:.4f}, worst "
            f"{apart.max():.3f}); angle {np.median(angle):.1f} (90 % "
            f"{np.percentile(angle, 90):.1f}); RMS at "
            + ", ".join(f"{nm[i]:g} nm {where[i]:.3f}" for i in range(0, len(nm), 5))
        )


if __name__ == "__main__":
    main()
