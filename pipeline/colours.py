"""What an image's embedded ICC profile says its colours are."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, ImageCms
from rasterio.io import DatasetReader

Colours = Literal["srgb", "other"]
_ALIKE = 4
"""Most steps of 255 that a colour may move on its way to sRGB: makers' sRGB differ by 1 to 2."""
_LARGEST = 4_000_000
"""Bytes of a profile, in base64, that is looked at."""


def declared_colours(dataset: DatasetReader) -> Colours | None:
    """Whether a raster's profile is sRGB's, by what it does to colours; None where it has none.

    A profile that is damaged, or of no RGB, is none of sRGB.
    """
    text = dataset.tags(ns="COLOR_PROFILE").get("SOURCE_ICC_PROFILE")
    if not text:
        return None
    steps = np.linspace(0, 255, 6).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(6, 36, 3)
    image = Image.fromarray(colours)
    try:
        if len(text) > _LARGEST:
            return "other"
        given = ImageCms.ImageCmsProfile(BytesIO(b64decode(text)))
        seen = ImageCms.profileToProfile(image, given, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return "other"
    moved = np.abs(np.asarray(seen).astype(int) - colours)
    return "srgb" if moved.max() <= _ALIKE else "other"
