"""One scale a scene, so that what the network sees does not depend on the exposure."""

import numpy as np
from numpy.typing import NDArray

from pipeline.camera import Camera, Floats
from pipeline.scene import Scene, scale_windows

MEAN_AT = 0.25
"""Where the scale puts a scene's robust mean: whites then stay near one, as in training."""
BRIGHT_AT = 4.0
"""The most it lets the 99th percentile be: the highest that training showed the network was 3.2,
and what it answers far beyond is bounded but no estimate."""


def scale_of(rgb: Floats, valid: NDArray[np.bool_] | None = None) -> float:
    """Scale of linear RGB (3, ...): its mean brightness, clipped at the 99th percentile, / 0.25.

    Where that would leave the 99th percentile above 4, as in a night scene: that percentile / 4.
    Homogeneous: RGB times k has a scale times k. Black, or nothing valid, gives 1.
    """
    brightness = rgb.mean(axis=0, dtype=np.float64)
    brightness = brightness.ravel() if valid is None else brightness[valid]
    if brightness.size == 0:
        return 1.0
    bright = float(np.percentile(brightness, 99))
    mean = float(np.minimum(brightness, bright).mean())
    return max(mean / MEAN_AT, bright / BRIGHT_AT) if mean > 0 else 1.0


def scene_scale(scene: Scene, camera: Camera) -> float:
    """Scale of a scene, from fixed full-resolution windows chosen by coordinates alone."""
    parts = [scene.read(window) for window in scale_windows(scene.height, scene.width)]
    # Masked before it is decoded: a float's nodata may be too large for a power.
    known = [camera.decode(np.where(valid, values, 0)) for values, valid in parts]
    rgb = np.concatenate([part.reshape(3, -1) for part in known], axis=1)
    return scale_of(rgb, np.concatenate([valid.ravel() for _, valid in parts]))
