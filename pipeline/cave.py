"""CAVE: 32 scenes of 512 x 512, a folder of 31 16-bit PNGs each (Yasuma et al., CUCS-061-08)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.camera import Floats
from pipeline.errors import Refusal
from pipeline.reference import DataSet, Folder, NoLayout, Reference

WAVELENGTHS = tuple(float(w) for w in range(400, 701, 10))
SIZE = (512, 512)


def cave(root: str | Path) -> DataSet:
    """The data set in a folder, in either layout: ``<scene>_ms`` or ``<scene>_ms/<scene>_ms``.

    Its owner lists no splits. Raises Refusal where no scene is found.
    """
    folder = Folder(root)
    paths = _scenes(folder)
    if not paths:
        fix = "Give the folder that holds balloons_ms, beads_ms, ..."
        raise NoLayout("a CAVE root must hold folders named <scene>_ms", root, fix)

    def read(name: str) -> Reference:
        cube = _cube(folder, paths[name])
        return Reference(name, cube, WAVELENGTHS, np.ones(cube.shape[1:], bool))

    return DataSet("cave", WAVELENGTHS, paths, {}, read)


def _scenes(folder: Folder) -> Mapping[str, str]:
    outer = [name for name in folder.names() if name.endswith("_ms")]
    return {
        name.removesuffix("_ms"): f"{name}/{name}" if name in folder.names(name) else name
        for name in outer
    }


def _cube(folder: Folder, inside: str) -> Floats:
    """Reflectance (31, height, width) of a scene's folder: value / 65535."""
    stem = inside.rsplit("/", 1)[-1]
    wanted = [f"{stem}_{band:02d}.png".lower() for band in range(1, len(WAVELENGTHS) + 1)]
    there = {name.lower(): name for name in folder.names(inside)}
    if missing := [name for name in wanted if name not in there]:
        found = f"{len(wanted) - len(missing)} in {inside}"
        raise Refusal("a CAVE scene must have 31 PNGs", found, "Unpack it again.")
    planes = [_plane(folder, f"{inside}/{there[name]}") for name in wanted]
    if len({plane.shape for plane in planes}) > 1:
        raise Refusal("a CAVE scene's PNGs must have one size", inside, "Unpack it again.")
    return np.stack(planes)


def _plane(folder: Folder, inside: str) -> Floats:
    try:
        with folder.open(inside) as file:
            image = Image.open(file, formats=["PNG"])
            if image.mode == "P":
                raise OSError("palette entries, not values")
            plane = np.asarray(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        rule = "a CAVE scene must have 31 readable PNGs"
        raise Refusal(rule, f"{inside}: {error}", "Unpack it again.") from None
    # `watercolors` is an 8-bit RGBA image in the database; its first channel is the plane.
    plane = plane if plane.ndim == 2 else plane[..., 0]
    if plane.dtype not in (np.uint8, np.uint16):
        rule = "a CAVE scene must have PNGs of 8 or 16 bits"
        raise Refusal(rule, f"{inside}: {plane.dtype}", "Unpack it again.")
    reflectance: Floats = (plane / np.float32(np.iinfo(plane.dtype).max)).astype(np.float32)
    return reflectance
