"""Adjoining rasters on one pixel grid as one scene: no seam where one file ends."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from affine import Affine
from numpy.typing import NDArray

from pipeline import reach
from pipeline.colours import Colours
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.ours import is_made
from pipeline.scene import RasterScene
from pipeline.store import storage_errors
from pipeline.uri import is_file, local_path, renamed

OPEN = 64
"""Most sheets that are kept open."""
_RULE = "sheets of one scene lie on one pixel grid"


def open_scene(
    uri: str | Path, bands: tuple[int, int, int] | None = None
) -> RasterScene | MosaicScene:
    """The raster at a URI; with a * in it, all that match as sheets of one scene."""
    uri = os.fspath(uri)
    if is_file(uri):
        return RasterScene.open(uri, bands)
    return MosaicScene.open(matching(uri), bands) if "*" in uri else RasterScene.open(uri, bands)


def matching(pattern: str) -> list[str]:
    """The files that a path or URI with * names, sorted, but for cubes and what lies beside them.

    Raises Refusal where there are none.
    """
    try:
        fs, inside = fsspec.core.url_to_fs(pattern)
        # What else a glob reads is part of a name: a set of ? or of [ alone is the sign itself.
        found = sorted(fs.glob(re.sub(r"[?[]", r"[\g<0>]", inside)))
        if local_path(pattern) is None:
            found = [renamed(pattern, fs.unstrip_protocol(name)) for name in found]
        inputs = [name for name in found if not is_made(name)]
    except storage_errors(ValueError, ImportError) as error:
        raise reach.failed(error, f"files of {pattern} can be listed", "Check the path.") from None
    if not inputs:
        rule = "a path with * matches a file, and not only cubes and what lies beside them"
        raise Refusal(rule, pattern, "Check the path.")
    return inputs


@dataclass(frozen=True, slots=True)
class MosaicScene:
    """Sheets as one scene over their union; where they overlap, the first valid pixel counts.

    What no sheet covers is not valid. Safe to share between threads and to pickle.
    """

    sheets: tuple[RasterScene, ...]
    places: tuple[Window, ...]
    """Of each sheet, in the scene."""
    height: int
    width: int
    dtype: np.dtype[Any]
    transform: Affine
    crs_wkt: str | None
    declared_white: float | None
    declared_end: float | None
    colours: Colours | None
    unplaced = False
    """Sheets have a place."""
    _used: _Recent = field(repr=False, compare=False)

    @classmethod
    def open(cls, uris: Sequence[str], bands: tuple[int, int, int] | None = None) -> MosaicScene:
        """Read all headers. Raises Refusal where the sheets do not fit together."""
        sheets = tuple(RasterScene.open(uri, bands, sheet=len(uris) > 1) for uri in uris)
        first = sheets[0]
        if first.transform is None:
            raise Refusal(_RULE, f"{first.uri} without a transform", "Georeference it.")
        for sheet in sheets[1:]:
            for name in ("crs_wkt", "dtype", "declared_white", "colours"):
                if (found := _meant(sheet, name)) != (wanted := _meant(first, name)):
                    found = f"{name} {found} in {sheet.uri}, {wanted} before"
                    raise Refusal(_RULE, found, "Warp or convert the sheets alike.")
        corners = [_corner(first.transform, sheet) for sheet in sheets]
        top, left = min(row for row, _ in corners), min(col for _, col in corners)
        places = tuple(
            Window(row - top, col - left, sheet.height, sheet.width)
            for (row, col), sheet in zip(corners, sheets, strict=True)
        )
        return cls(
            sheets=sheets,
            places=places,
            height=max(place.row_stop for place in places),
            width=max(place.col_stop for place in places),
            dtype=first.dtype,
            transform=first.transform @ Affine.translation(left, top),
            crs_wkt=first.crs_wkt,
            declared_white=first.declared_white,
            declared_end=first.declared_end if len({s.declared_end for s in sheets}) == 1 else None,
            colours=first.colours,
            _used=_Recent(),
        )

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (3, height, width) and valid (height, width) of a window inside the scene."""
        values = np.zeros((3, window.height, window.width), self.dtype)
        valid = np.zeros((window.height, window.width), np.bool_)
        for sheet, place in zip(self.sheets, self.places, strict=True):
            if (shared := place.intersection(window)) is None:
                continue
            at = shared.relative_to(window).slices
            if valid[at].all():
                continue
            self._used.keep(sheet)
            found, known = sheet.read(shared.relative_to(place))
            new = known & ~valid[at]
            values[:, *at][:, new] = found[:, new]
            valid[at] |= new
        return values, valid

    @property
    def retries(self) -> int:
        """How often a read had to be tried again."""
        return sum(sheet.retries for sheet in self.sheets)

    @property
    def multiplied(self) -> bool:
        """Whether any sheet says that its colours are multiplied by alpha."""
        return any(sheet.multiplied for sheet in self.sheets)

    @property
    def header(self) -> dict[str, Any]:
        """What the files' headers say together, and the SHA-256 of it, for provenance."""
        facts = {
            "name": f"{self.sheets[0].header['name']} and {len(self.sheets) - 1} more",
            "height": self.height,
            "width": self.width,
            "dtype": self.dtype.name,
            "bands": list(self.sheets[0].bands),
            "crs": self.crs_wkt,
            "transform": list(self.transform)[:6],
            "sheets": [sheet.header["digest"] for sheet in self.sheets],
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return {**facts, "digest": digest}

    @property
    def files(self) -> list[str]:
        """The files of all sheets."""
        return [name for sheet in self.sheets for name in sheet.files]

    def close(self) -> None:
        """Close all files; a later read opens them again."""
        for sheet in self.sheets:
            sheet.close()


class _Recent:
    """Of the sheets a thread reads, closes those it has not read for longest. Pickles to none."""

    def __init__(self) -> None:
        self._local = threading.local()

    def keep(self, sheet: RasterScene) -> None:
        recent: OrderedDict[str, RasterScene] = self._local.__dict__.setdefault("_", OrderedDict())
        recent[sheet.uri] = sheet
        recent.move_to_end(sheet.uri)
        if len(recent) > OPEN:
            recent.popitem(last=False)[1].release()

    def __reduce__(self) -> tuple[type[_Recent], tuple[()]]:
        return _Recent, ()


def _meant(sheet: RasterScene, name: str) -> Any:
    """What a sheet says, or where that is nothing is taken to say: 8 bits alone are sRGB."""
    said = getattr(sheet, name)
    plain = sheet.dtype == np.uint8 and sheet.declared_white is None
    return "srgb" if name == "colours" and said is None and plain else said


def _corner(origin: Affine, sheet: RasterScene) -> tuple[int, int]:
    """Row and column of a sheet's first pixel on the grid of the first sheet."""
    place = sheet.transform
    if place is None:
        raise Refusal(_RULE, f"{sheet.uri} without a transform", "Georeference it.")
    size = max(abs(origin.a), abs(origin.b), abs(origin.d), abs(origin.e))
    # A thousandth of a pixel over the whole sheet.
    slack = 1e-3 * size / max(sheet.height, sheet.width)
    pairs = [(getattr(place, name), getattr(origin, name)) for name in "abde"]
    if any(abs(one - other) > slack for one, other in pairs):
        found = f"{sheet.uri} with pixels of {place.a, place.b, place.d, place.e}"
        raise Refusal(_RULE, found, "Warp the sheets to one pixel size.")
    col, row = ~origin @ (place.c, place.f)
    if abs(col - round(col)) > 1e-2 or abs(row - round(row)) > 1e-2:
        found = f"{sheet.uri} at row {row:.3f}, column {col:.3f} of the first"
        raise Refusal(_RULE, found, "Warp the sheets to one grid.")
    return round(row), round(col)
