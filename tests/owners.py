"""Tiny data sets in exactly their owners' forms."""

from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from scipy.io import savemat

from pipeline.camera import load_camera
from pipeline.rendering import photograph
from tests.toys import write_scene


def cube_of(seed: int, height: int = 20, width: int = 24) -> np.ndarray:
    """Smooth spectra in (0, 1), (31, height, width) float32, no two scenes alike."""
    random = np.random.default_rng(seed)
    hues = 0.2 + 0.6 * random.random((2, 1, 1, 1), np.float32)
    slopes = np.linspace(0.5, 1, 31, dtype=np.float32)[:, None, None]
    rows = np.linspace(0.1, 1, height, dtype=np.float32)[:, None]
    cols = np.linspace(1, 0.2, width, dtype=np.float32)
    return hues[0] * slopes * rows * cols + 0.3 * hues[1] * slopes[::-1] * (1 - rows)


def write_arad(root: Path, scenes: dict[int, np.ndarray]) -> Path:
    """MATLAB v7.3 as h5py sees it, (31, width, height), and the challenge's own photographs."""
    camera = load_camera("basler-a2a5320-23uc")
    for folder in ("Train_Spec", "Train_RGB"):
        (root / folder).mkdir()
    for number, cube in scenes.items():
        stem = f"ARAD_1K_{number:04d}"
        with h5py.File(root / "Train_Spec" / f"{stem}.mat", "w", userblock_size=512) as file:
            file.create_dataset("cube", data=cube.transpose(0, 2, 1), chunks=True, compression=4)
            file["bands"] = np.arange(400.0, 701, 10)[:, None]
            file["norm_factor"] = np.array([[4095.0]])
        image, _ = photograph(camera.render(cube), camera, np.random.default_rng(number))
        path = root / "Train_RGB" / f"{stem}.jpg"
        Image.fromarray(image.transpose(1, 2, 0)).save(path, quality=65)
    return root


def write_cave(root: Path, name: str, planes: np.ndarray) -> Path:
    """31 PNGs in ``<name>_ms/<name>_ms``."""
    return write_scene(root / f"{name}_ms" / f"{name}_ms", name, planes)


def write_harvard(root: Path, name: str, cube: np.ndarray) -> None:
    """MATLAB v5 with `ref` (height, width, 31) in float64 and `lbl`, whose first row is masked."""
    path = root / f"{name}.mat"
    path.parent.mkdir(exist_ok=True)
    lbl = np.ones(cube.shape[1:], np.uint8)
    lbl[0] = 0
    ref = cube.transpose(1, 2, 0).astype(np.float64)
    savemat(path, {"ref": ref, "lbl": lbl}, do_compression=True)
