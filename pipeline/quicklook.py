"""A cube as a colour picture in a cloud-optimised GeoTIFF."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from affine import Affine
from numpy.typing import NDArray

from pipeline.camera import SRGB, Camera, load_camera, resampled
from pipeline.cog import cog, window_of
from pipeline.cube import SpectralCube, unpack
from pipeline.curve import to_srgb
from pipeline.grid import regions
from pipeline.labels import Labels
from pipeline.layout import NOTE
from pipeline.picture import opaque

LONGEST = 4096
"""Pixels of its long side, at most, where the cube has overviews to draw it from."""


def write_quicklook(cube: SpectralCube, path: Path) -> None:
    """Write the cube as sRGB with alpha 0 where there is nodata; reflectance 1 is white.

    Of a large cube an overview is drawn. Lossless, in parts: memory does not grow with the cube.
    Raises Refusal where sRGB does not span the cube's wavelengths.
    """
    labels, camera = Labels.of(cube), resampled(load_camera(SRGB), cube.wavelengths)
    factor, level = drawn_from(cube)
    height, width = (-(-size // factor) for size in (cube.height, cube.width))
    profile = {"width": width, "height": height, "count": 4, "dtype": "uint8"}
    profile |= {"photometric": "RGB", "alpha": "NON-PREMULTIPLIED", "crs": labels.crs_wkt}
    if labels.transform is not None:
        profile["transform"] = labels.transform @ Affine.scale(factor)
    side = cube.chunk if level is None else level.chunks[1]
    with cog(path, **profile) as file:
        file.update_tags(TIFFTAG_IMAGEDESCRIPTION=NOTE)
        for part in regions(height, width, side, side):
            raw = cube.raw(part) if level is None else np.asarray(level[:, *part.slices])
            file.write(_rgba(raw, camera), window=window_of(part))


def drawn_from(cube: SpectralCube) -> tuple[int, zarr.Array[Any] | None]:
    """Pixels of the cube that one of the picture's is a side, and the overview that is drawn.

    None, the cube itself, where it is small or has no overview.
    """
    longest = max(cube.height, cube.width)
    if longest <= LONGEST or not (levels := cube.companion.overviews):
        return 1, None
    factor = next((n for n in levels if longest <= n * LONGEST), max(levels))
    return factor, levels[factor]


def _rgba(raw: NDArray[Any], camera: Camera) -> NDArray[np.uint8]:
    values, valid = unpack(raw)
    return opaque(to_srgb(camera.render(np.where(valid, values, 0))), valid)
