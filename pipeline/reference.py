"""Scenes whose spectra were measured: a cube, what is valid of it, the RGB a method is given."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np
from fsspec.core import url_to_fs
from numpy.typing import NDArray

from pipeline.camera import Camera, Floats
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.rendering import Bytes, Rendering, developed, exposure_of, render

Mask = NDArray[np.bool_]
SAMPLE = 4096
"""Bytes of a file that tell it from another of its name and size."""


class NoLayout(Refusal):
    """Of a root that holds another data set, or none."""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """One measured scene, as its owner gives it."""

    name: str
    cube: Floats
    """(wavelengths, height, width), float32."""
    wavelengths: tuple[float, ...]
    """nm."""
    valid: Mask
    """(height, width): what is to be scored."""
    rgb: Bytes | None = None
    """(3, height, width): the owner's own photograph, where there is one."""

    def at(self, wavelengths: tuple[float, ...]) -> Floats:
        """The cube at some of its wavelengths."""
        if wavelengths == self.wavelengths:
            return self.cube
        return self.cube[[self.wavelengths.index(w) for w in wavelengths]]


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """A benchmark in its owner's layout; scenes are read one at a time, when they are asked for."""

    name: str
    wavelengths: tuple[float, ...]
    paths: Mapping[str, str]
    """The file or folder of each scene."""
    splits: Mapping[str, tuple[str, ...]]
    """Scenes by use, as the owner lists them; names only, which may not be there."""
    read: Callable[[str], Reference]
    """A scene by name. Raises Refusal where it is not there or not readable."""

    def split(self, use: str) -> tuple[str, ...]:
        """Scenes of a use that are there. Raises Refusal where nobody lists it or none is."""
        if use not in self.splits:
            fix = f"Choose one of {', '.join(self.splits) or 'none'}, or name scenes."
            raise Refusal(f"a split of {self.name} must be one that is listed", use, fix)
        there = tuple(name for name in self.splits[use] if name in self.paths)
        if not there:
            rule, fix = f"a scene of {use} must be there", "r2h data check says more."
            listed = ", ".join(self.splits[use][:5])
            raise Refusal(rule, f"none of {listed}, ..." if listed else "none listed", fix)
        return there

    def missing(self, use: str) -> tuple[str, ...]:
        """Scenes that are listed for a use and not there."""
        return tuple(name for name in self.splits.get(use, ()) if name not in self.paths)

    def named(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The same names. Raises Refusal where one is not there, or none is given."""
        missing = [name for name in names if name not in self.paths]
        if missing or not names:
            fix = (
                f"There are {', '.join(list(self.paths)[:5])}, ... in it; r2h data check says more."
            )
            raise Refusal("every scene named must be in the root", missing or "none", fix)
        return names


class Folder:
    """A folder at a path or any fsspec URI. Raises Refusal where it cannot be reached."""

    def __init__(self, uri: object) -> None:
        try:
            self.fs, self.path = url_to_fs(str(uri))
            there = self.fs.isdir(self.path)
        except (ValueError, ImportError, OSError) as error:
            fix = "Give a path, or a URI whose file system is installed."
            raise Refusal("a data set's root must be reachable", error, fix) from error
        if not there:
            raise Refusal("a data set's root must be a folder", uri, "Check the path.")

    def names(self, inside: str = "") -> list[str]:
        """Names of what is in it, or in a folder inside, but for hidden ones, as macOS adds.

        None where that is missing.
        """
        path = f"{self.path}/{inside}".rstrip("/")
        if not self.fs.isdir(path):
            return []
        found = (each.rstrip("/").rsplit("/", 1)[-1] for each in self.fs.ls(path, False))
        return sorted(name for name in found if not name.startswith("."))

    def open(self, inside: str) -> BinaryIO:
        """A file in it, for reading."""
        return cast(BinaryIO, self.fs.open(f"{self.path}/{inside}", "rb"))

    def digest(self, inside: str) -> str:
        """SHA-256, hex, of a file in it or of a folder's: their names, sizes, and a sample of each.

        That is 4 KiB from the middle, so that it is had at once; a change elsewhere that leaves the
        size as it was does not show. Hidden files do not count.
        """
        total = hashlib.sha256()
        for name in sorted(self.fs.find(f"{self.path}/{inside}")):
            if not (last := name.rpartition("/")[2]).startswith("."):
                size = self.fs.size(name)
                start = max(0, (size - SAMPLE) // 2)
                total.update(f"{last} {size} ".encode())
                total.update(self.fs.cat_file(name, start=start, end=start + SAMPLE))
        return total.hexdigest()

    def lines(self, inside: str) -> tuple[str, ...]:
        """A text file's lines without those that are empty. Raises Refusal where it is no UTF-8."""
        with self.open(inside) as file:
            data = file.read()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Refusal("a list is UTF-8 text", f"{inside}: {error}", "Save it so.") from None
        return tuple(line.strip() for line in text.splitlines() if line.strip())


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceScene:
    """A `Scene` of linear RGB made from a measured one."""

    reference: Reference
    rgb: Floats
    """(3, height, width), linear, white = 1."""

    transform = None
    crs_wkt = None
    dtype = np.dtype(np.float32)
    declared_white = 1.0
    declared_end = None
    colours = None

    @classmethod
    def rendered(
        cls, reference: Reference, camera: Camera, rendering: Rendering = "clean", seed: int = 0
    ) -> "ReferenceScene":
        """Rendered by a camera, whose wavelengths must be among the reference's."""
        cube = reference.at(camera.wavelengths)
        return cls(reference, render(cube, camera, rendering, seed))

    @classmethod
    def published(cls, reference: Reference, camera: Camera) -> "ReferenceScene":
        """The owner's own photograph by that camera, its exposure reckoned from the reference.

        Raises Refusal where there is none.
        """
        if reference.rgb is None:
            fix = "Render it: leave --rgb out."
            raise Refusal("the data set must come with photographs", reference.name, fix)
        response = np.array(camera.response, np.float32)[:, None, None]
        signal = np.maximum(camera.render(reference.at(camera.wavelengths)), 0) * response
        return cls(reference, developed(reference.rgb, response * np.float32(exposure_of(signal))))

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.rgb.shape[1])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.rgb.shape[2])

    def read(self, window: Window) -> tuple[Floats, Mask]:
        """Linear RGB (3, h, w) and what is valid (h, w)."""
        rows, cols = window.slices
        return self.rgb[:, rows, cols], self.reference.valid[rows, cols]
