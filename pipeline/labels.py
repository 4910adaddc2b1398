"""What a stored cube says of itself, for whatever writes it in another form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from pipeline.bands import CENTRES
from pipeline.chunks import undamaged
from pipeline.cube import SpectralCube
from pipeline.grid import Window
from pipeline.layout import ARRAY, NODATA, NOTE, CubeSpec

Parts = Iterator[tuple[Window, NDArray[Any]]]
"""Windows of a whole, and what a cube stores there (wavelength, height, width)."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Of a cube, or of a window of it."""

    height: int
    width: int
    chunk: int
    wavelengths: tuple[float, ...]
    """nm."""
    fwhm: tuple[float, ...]
    """nm; NaN where there is one wavelength."""
    dtype: Literal["uint16", "float32"]
    """Of what is stored."""
    scale: float
    """Reflectance of one stored count."""
    transform: Affine | None
    """Pixel corner (col, row) to map (x, y)."""
    crs_wkt: str | None
    zarr_format: Literal[2, 3]
    settings: dict[str, Any]
    """The provenance."""
    start: tuple[int, int] = (0, 0)
    """The scene's row and column of the first pixel, where y and x count pixels."""
    quantity: Literal["reflectance", "radiance"] = "reflectance"
    """What the values are, relative to white's."""
    bands: tuple[str, ...] = ()
    """Names of the bands, where they have others than their wavelengths."""

    @classmethod
    def of(cls, cube: SpectralCube) -> Labels:
        """Read the labels of a cube. Raises Refusal where they are damaged."""
        group = cube.group
        array: Any = group[ARRAY]
        place: Any = array.attrs.get("spatial:transform")
        transform = Affine(*place) if place else None
        reference: Any = group["spatial_ref"].attrs if "spatial_ref" in group else {}
        return cls(
            height=cube.height,
            width=cube.width,
            chunk=cube.chunk,
            wavelengths=cube.wavelengths,
            fwhm=tuple(_values(cube, "fwhm").tolist()),
            dtype=array.dtype.name,
            scale=float(array.attrs.get("scale_factor", 1)),
            transform=transform,
            crs_wkt=reference.get("crs_wkt"),
            zarr_format=group.metadata.zarr_format,
            settings=cube.settings,
            start=_start(cube, transform),
        )

    def within(self, window: Window) -> Labels:
        """The labels of a window. Raises Refusal where it leaves the cube."""
        window.refuse_outside(self.height, self.width)
        move = Affine.translation(window.col, window.row)
        place = None if self.transform is None else self.transform @ move
        start = (self.start[0] + window.row, self.start[1] + window.col)
        return replace(self, height=window.height, width=window.width, transform=place, start=start)

    @property
    def window(self) -> Window | None:
        """Its pixels in the scene, where nothing else says where it lies."""
        if self.transform is not None:
            return None
        return Window(*self.start, self.height, self.width)

    @property
    def pixel_centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The y (height,) and x (width,) of the pixels, as in the cube."""
        y, x = self.spec.pixel_centres()
        return (y, x) if self.spec.upright else (y + self.start[0], x + self.start[1])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Wavelengths, rows, columns."""
        return len(self.wavelengths), self.height, self.width

    @property
    def spec(self) -> CubeSpec:
        """A cube of these labels by itself."""
        return CubeSpec(
            self.height,
            self.width,
            self.wavelengths,
            dtype=self.dtype,
            transform=self.transform,
            crs_wkt=self.crs_wkt,
        )

    @property
    def nodata(self) -> float:
        """The stored value of a pixel without one."""
        return NODATA[self.dtype]

    @property
    def profile(self) -> dict[str, Any]:
        """What rasterio is told of a file of it."""
        return {
            "width": self.width,
            "height": self.height,
            "count": len(self.wavelengths),
            "dtype": self.dtype,
            "nodata": self.nodata,
            "crs": self.crs_wkt,
            "transform": self.transform,
        }

    @property
    def origin(self) -> str:
        """In words, where the values are from, and what they are."""
        camera, about = (self.settings.get(key, {}) for key in ("camera", "export"))
        facts = {
            "checkpoint": self.settings.get("checkpoint"),
            "camera": camera.get("name"),
            "encoding": camera.get("encoding"),
            "input white": camera.get("white"),
            "input light": camera.get("illuminant"),
            "noise level": self.settings.get("noise_level"),
            **{key: about[key] for key in ("sensor", "illuminant") if key in about},
            "values": f"{self.quantity} relative to {self.unit}",
        }
        if (part := self.window) and (part.row or part.col):
            facts["first pixel"] = f"row {part.row}, column {part.col} of the scene"
        return ", ".join([NOTE, *(f"{key} {value}" for key, value in facts.items() if value)])

    @property
    def unit(self) -> str:
        """In words, of what a value of 1 is as much: see `pipeline.convert.convert`."""
        mean = "the mean over wavelengths of a white surface's"
        return "white" if self.quantity == "reflectance" else mean

    @property
    def white(self) -> tuple[float, ...]:
        """What a white surface sends back in each band, of radiance; else nothing."""
        return tuple(self.settings.get("export", {}).get("white", ()))

    @property
    def names(self) -> list[str]:
        """Of the bands: 400 nm, 410 nm, ..."""
        return [*self.bands] or [f"{nm:g} nm" for nm in self.wavelengths]

    @property
    def coloured(self) -> dict[int, str]:
        """Of the bands in `rgb`, from 1, the colour of each that is of one."""
        named = zip(reversed(CENTRES), reversed(self.rgb), strict=True)
        nm = self.wavelengths
        return {n: name for name, n in named if CENTRES[name][0] <= nm[n - 1] <= CENTRES[name][1]}

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The bands, from 1, that are nearest to 650, 550 and 450 nm, of those of such a colour.

        As Sentinel-2's B2 at 492 nm is blue, and B1 at 443 nm, for the air's haze, is not.
        """
        nm = np.array(self.wavelengths)

        def nearest(colour: str, wanted: float) -> int:
            low, high = CENTRES[colour]
            of = (nm >= low) & (nm <= high)
            return int(np.where(of | ~of.any(), np.abs(nm - wanted), np.inf).argmin()) + 1

        return nearest("red", 650), nearest("green", 550), nearest("blue", 450)


def _values(cube: SpectralCube, name: str) -> NDArray[Any]:
    with undamaged(cube.uri):
        return np.asarray(cube.group[name])


def _start(cube: SpectralCube, transform: Affine | None) -> tuple[int, int]:
    """Read off y and x where they count pixels; elsewhere they tell of the place by themselves."""
    if transform is not None and transform.b == transform.d == 0:
        return 0, 0
    row, col = (int(_values(cube, name)[0]) for name in ("y", "x"))
    return row, col
