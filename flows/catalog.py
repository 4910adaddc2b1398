"""Static STAC catalogs as inputs: each item's asset, and what is said of it."""

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any
from urllib.parse import unquote

from flows.item import Item, read
from pipeline.errors import Refusal
from pipeline.uri import at_home, is_file, local_path

_MEANS = {"nodata", "offset", "scale", "unit"}
"""What says what values mean."""


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
    try:
        import pystac  # noqa: PLC0415
        from pystac.stac_io import DefaultStacIO  # noqa: PLC0415
    except ModuleNotFoundError as error:
        fix = "Install it with: pip install 'r2h[stac]'"
        raise Refusal("a catalog needs the extra 'stac'", f"no {error.name}", fix) from error

    class Io(DefaultStacIO):
        """Reads through fsspec, so that a catalog may lie where rasters do."""

        def read_text(self, source: Any, *_: Any, **__: Any) -> str:
            return read(at_home(_there(str(getattr(source, "href", source)))))

    io = Io()
    try:
        top = json.loads(read(uri))
        if top.get("type") == "FeatureCollection":
            if any(link.get("rel") == "next" for link in top.get("links", ())):
                rule, fix = "an item collection is whole", "Save all pages of the search as one."
                raise Refusal(rule, f"{uri}, which has a next page", fix)
            return [pystac.Item.from_dict(feature) for feature in top["features"]]
        if top.get("type") == "Feature":
            return [pystac.Item.from_file(uri, stac_io=io)]
        return list(pystac.Catalog.from_file(uri, stac_io=io).get_items(recursive=True))
    except (Refusal, ConnectionError):
        raise
    # pystac takes a document for what it says it is, and fails in as many ways as that is wrong.
    except Exception as error:
        # What it links to may be out of reach, which pystac tells by its own words.
        if isinstance(error.__cause__, Refusal | ConnectionError):
            raise error.__cause__ from None
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
        source=href if local_path(here) and local_path(href) is None else _named(href, here),
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


def _named(href: str, start: str) -> str:
    """Where an asset is, whose ``href`` is relative to what lies at ``start``."""
    from pystac.utils import make_absolute_href  # noqa: PLC0415

    return _there(str(make_absolute_href(href, start, start_is_dir=False)))


def _there(href: str) -> str:
    """Where a relative href leads: it is a URI, but many catalogs hold bare paths."""
    if "://" in href or local_path(href) is None:
        return href
    decoded = unquote(href)
    return decoded if not is_file(href) and is_file(decoded) else href
