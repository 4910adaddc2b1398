"""The inputs of a batch: lists, globs, text files, catalogs; and what a file must say itself."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from flows.catalog import from_stac
from flows.item import NAMELESS, Item, read
from flows.naming import Fields, OddSign, destination
from flows.record import record_path
from flows.settings import BatchSettings, ReconstructSettings
from pipeline.bands import RATIOS, RGB, say_other
from pipeline.companion import Companion
from pipeline.errors import Refusal
from pipeline.mosaic import MosaicScene, matching
from pipeline.scene import RasterScene
from pipeline.uri import is_file

_SHOWS = ("common_name", "name", "description", "center_wavelength")
"""What says which light a band shows."""


def scenes(settings: BatchSettings) -> Iterator[tuple[Item, ReconstructSettings]]:
    """Each input of a batch, and how it becomes its cube. Raises Refusal where there is none."""
    sources = [from_paths(settings.inputs)]
    sources += [from_text(settings.listed)] if settings.listed else []
    sources += [from_stac(settings.catalog, settings.asset)] if settings.catalog else []
    items = list(chain(*sources))
    if not items:
        raise Refusal("a batch has inputs", "none", "Give inputs, listed or catalog.")
    taken: dict[str, str] = {}
    shared = settings.scene.model_dump(exclude={"overwrite"})
    for index, item in enumerate(items):
        known: Fields = {"index": index, **item.fields}
        try:
            cube = destination(settings.output, settings.name, item.source, known)
        except OddSign as error:
            if not settings.keep_going:
                raise
            item, cube = replace(item, refused=f"{error}"), NAMELESS  # noqa: PLW2901
        for place in () if item.refused else (cube, Companion.uri(cube), record_path(cube)):
            if place in taken:
                found = f"{place} of {taken[place]} and of {item.source}"
                raise Refusal("each input has its own cube", found, "Change `name`.")
            taken[place] = item.source
        own = shared | {"datetime": settings.scene.datetime or item.datetime}
        yield (
            item,
            ReconstructSettings(source=item.source, destination=cube, **own).model_copy(
                update={"overwrite": settings.scene.overwrite}
            ),
        )


def from_paths(texts: Iterable[str]) -> Iterator[Item]:
    """Paths and URIs; one with * stands for all files that match."""
    for text in texts:
        if "*" in text and not is_file(text):
            yield from map(Item, matching(text))
        else:
            yield Item(text)


def from_text(uri: str) -> Iterator[Item]:
    """A text file with a path, URI or glob a line; blank lines and those with # are left out."""
    lines = (line.strip() for line in read(uri).splitlines())
    yield from from_paths(line for line in lines if line and not line.startswith("#"))


def refuse_unsaid(item: Item, scene: RasterScene | MosaicScene, named: bool) -> None:
    """Raise Refusal where a catalog says what decides the values, and the raster does not say it.

    That is nodata, a scale, a unit that is none of reflectance, and, unless bands are ``named``,
    which band is which.
    """
    if not isinstance(scene, RasterScene):
        return
    fix = "Declare it in the file too: gdal_edit.py -a_nodata."
    # Text is "nan" or an infinity, which are nodata in any file.
    told = {one["nodata"] for one in item.said if isinstance(one.get("nodata"), int | float)}
    if told and (not scene.says_nodata or (scene.nodata and not told & scene.nodata)):
        found = f"{item.source}, of which its item says {sorted(told)}"
        raise Refusal("nodata is declared in the file", found, fix)
    scales = {float(one["scale"]) for one in item.said if one.get("scale") not in (None, 1)}
    if scales and not np.allclose(sorted(scales), 1 / (scene.declared_white or 1), rtol=1e-6):
        fix = "Declare it in the file too: gdal_edit.py -scale."
        found = f"{item.source}, of which its item says {sorted(scales)}"
        raise Refusal("a scale is declared in the file", found, fix)
    units = {str(one["unit"]) for one in item.said if one.get("unit") not in RATIOS}
    if units:
        fix = "Convert it to reflectance, or name the file as an input, with its white."
        raise Refusal("values are reflectance or in sRGB", f"{item.source} in {units}", fix)
    bands = item.bands or (item.union if len(item.union) == scene.count else ())
    known = dict(enumerate(bands, 1))
    if not named and _not_rgb([known.get(band, {}) for band in scene.bands]):
        words = [" ".join(str(band[key]) for key in _SHOWS if key in band) for band in bands]
        found = f"{item.source}, of which its item says {', '.join(words)}"
        raise Refusal("it is known which bands are red, green and blue", found, "Name them: bands.")


def _not_rgb(bands: list[dict[str, Any]]) -> bool:
    """Whether a catalog says of three bands that they are other than red, green and blue.

    A common name settles what its band is; another band is judged as by what a file says of it.
    """
    common = [band.get("common_name") for band in bands]
    if any(name not in (None, colour) for name, colour in zip(common, RGB, strict=True)):
        return True
    rest = [{} if name else band for name, band in zip(common, bands, strict=True)]
    centres = [band.get("center_wavelength") for band in rest]
    nm = [1000 * um if isinstance(um, int | float) else None for um in centres]
    return any(
        say_other([str(band.get(key) or "") for band in rest], nm)
        for key in ("name", "description")
    )
