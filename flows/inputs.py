"""The inputs of a batch: lists, globs, text files, and static STAC catalogs."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import fsspec
import numpy as np

from flows.naming import destination
from flows.settings import BatchSettings, ReconstructSettings
from pipeline.bands import RATIOS, RGB, say_other
from pipeline.companion import Companion
from pipeline.errors import Refusal
from pipeline.mosaic import MosaicScene, matching
from pipeline.scene import RasterScene
from pipeline.store import storage_errors
from pipeline.uri import is_file, local_path

_SHOWS = ("common_name", "name", "description", "center_wavelength")
"""What says which light a band shows."""
_MEANS = {"nodata", "offset", "scale", "unit"}
"""What says what values mean."""


@dataclass(frozen=True, slots=True)
class Item:
    """One raster, and what a template may say of it."""

    source: str
    fields: dict[str, str] = field(default_factory=dict)
    datetime: str | None = None
    """When the picture was taken, ISO 8601, where a catalog says it."""
    said: tuple[dict[str, Any], ...] = ()
    """What a catalog says of it as a whole and of its bands, by the names of STAC 1.1."""
    bands: tuple[dict[str, Any], ...] = ()
    """What a catalog says that each of its bands shows."""
    union: tuple[dict[str, Any], ...] = ()
    """What it says so of all its assets together: of a file's bands where these are as many."""


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
        cube = destination(
            settings.output, settings.name, item.source, {"index": index, **item.fields}
        )
        for place in (cube, Companion.uri(cube)):
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
    lines = (line.strip() for line in _read(uri).splitlines())
    yield from from_paths(line for line in lines if line and not line.startswith("#"))


def from_stac(uri: str, asset: str) -> Iterator[Item]:
    """The asset of that key in each item of a static catalog, collection or item collection.

    Raises Refusal for an item without it, for an asset with an offset, and for a page of a search,
    which has others after it.
    """
    for item in _items(uri):
        if asset not in item.assets:
            fix = "Name the asset's key with `asset`."
            raise Refusal(f"each item has an asset '{asset}'", [item.id, *item.assets], fix)
        yield _of_item(item, asset, uri)


def _items(uri: str) -> Iterable[Any]:
    """The STAC items of a document, and of those it links to, through fsspec."""
    import pystac  # noqa: PLC0415 (the extra `stac`)
    from pystac.stac_io import DefaultStacIO  # noqa: PLC0415

    class Io(DefaultStacIO):
        """Reads through fsspec, so that a catalog may lie where rasters do."""

        def read_text(self, source: Any, *_: Any, **__: Any) -> str:
            return _read(str(getattr(source, "href", source)))

    io = Io()
    try:
        top = json.loads(_read(uri))
        if top.get("type") == "FeatureCollection":
            if any(link.get("rel") == "next" for link in top.get("links", ())):
                rule, fix = "an item collection is whole", "Save all pages of the search as one."
                raise Refusal(rule, f"{uri}, which has a next page", fix)
            return [pystac.Item.from_dict(feature) for feature in top["features"]]
        if top.get("type") == "Feature":
            return [pystac.Item.from_file(uri, stac_io=io)]
        return list(pystac.Catalog.from_file(uri, stac_io=io).get_items(recursive=True))
    except Refusal:
        raise
    # pystac takes a document for what it says it is, and fails in as many ways as that is wrong.
    except Exception as error:
        rule, fix = "a catalog is STAC, in JSON", "Give a catalog, collection or item collection."
        found = f"{uri} ({' '.join(str(error).split())})"
        raise Refusal(rule, found, fix) from error


def _of_item(item: Any, asset: str, uri: str) -> Item:
    """What an item of the document at ``uri`` says of an asset."""
    own = item.assets[asset].extra_fields
    bands = _means(own, item.properties)
    if any(band.get("offset") for band in bands):
        fix = "Apply it to the values, and say so in the item."
        raise Refusal("an asset's values have no offset", f"{item.id} {bands}", fix)
    href, here = item.assets[asset].href, item.get_self_href() or uri
    date = item.datetime or item.common_metadata.start_datetime
    known = {
        "id": item.id,
        "collection": item.collection_id,
        "date": f"{date:%Y-%m-%d}" if date else None,
    }
    return Item(
        source=href if local_path(here) and local_path(href) is None else _absolute(href, here),
        fields={key: value for key, value in known.items() if value},
        datetime=item.datetime.isoformat() if item.datetime else None,
        said=tuple(bands),
        bands=tuple(_shown(own)),
        union=tuple(_shown(item.properties)),
    )


def _means(own: dict[str, Any], shared: dict[str, Any]) -> list[dict[str, Any]]:
    """What is said of an asset's values and its bands', by its fields and its item's properties.

    These hold for all assets (STAC 1.1, Assets, Additional Fields), but for what an asset, or each
    of its bands, says itself.
    """
    levels = _levels(own)
    told = {key for level in levels if level for key in set.intersection(*map(set, level))}
    shared = {k: shared[k] for k in shared.keys() - {"offset", "scale"}}  # bare, a map's perhaps
    rest = [{k: one[k] for k in _MEANS & one.keys() - told} for one in chain(*_levels(shared))]
    return [*chain(*levels), *rest]


def _levels(said: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """What is said of the whole, and of each band by STAC 1.1 and by its extension before."""
    each = [said], _listed(said, "bands"), _listed(said, "raster:bands")
    return [[_bare(one, "raster:") for one in level] for level in each]


def _listed(said: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = said.get(key) or []
    if not (isinstance(found, list) and all(isinstance(one, dict) for one in found)):
        raise Refusal(f"a catalog's {key} are a list of objects", found, "Mend the item.")
    return found


def _shown(said: dict[str, Any]) -> list[dict[str, Any]]:
    """What is said of what bands show, by STAC 1.1 or its extension before."""
    return [_bare(one, "eo:") for one in _listed(said, "bands") or _listed(said, "eo:bands")]


def _bare(said: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in said.items()}


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


def _absolute(href: str, start: str) -> str:
    from pystac.utils import make_absolute_href  # noqa: PLC0415

    return str(make_absolute_href(href, start, start_is_dir=False))


def _read(uri: str) -> str:
    try:
        with fsspec.open(uri, "rt", encoding="utf-8") as file:
            return str(file.read())
    except storage_errors(UnicodeDecodeError, ValueError, ImportError) as error:
        rule = "a list of inputs is a readable text"
        raise Refusal(rule, f"{uri} ({error})", "Check it.") from error
