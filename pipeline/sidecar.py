"""What lies beside a cube for those who cannot open it, look at it or find it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import fsspec
import rasterio
from rasterio.errors import RasterioIOError

from pipeline.cube import SpectralCube
from pipeline.errors import Refusal
from pipeline.labels import Labels
from pipeline.moment import Moment, given
from pipeline.ours import LOOK, QUICKLOOK, REPORT, SPECTRA, is_ours
from pipeline.publish import published
from pipeline.quicklook import drawn_from, write_quicklook
from pipeline.remote import without_place
from pipeline.stac import item
from pipeline.vrt import vrt


class Sidecars(NamedTuple):
    """URIs beside a cube; the item is first: nobody may find what is being replaced."""

    item: str
    vrt: str
    quicklook: str

    @classmethod
    def of(cls, cube: str) -> Sidecars:
        """Where those of a cube are."""
        return cls(*(stem(cube) + ending for ending in (".json", ".vrt", QUICKLOOK)))


def stem(cube: str) -> str:
    """What the names of the files beside a cube begin with."""
    return cube.rstrip("/").removesuffix(".zarr")


def there(cube: str) -> list[str]:
    """Which of a cube's sidecars are there, by the names of their kinds."""
    return [kind for kind, uri in Sidecars.of(cube)._asdict().items() if _exists(uri)]


def refuse_foreign(cube: str) -> None:
    """Raise Refusal where something else has the place of a cube's sidecar."""
    for uri in Sidecars.of(cube):
        if _exists(uri) and not is_ours(uri):
            fix = "Move it, choose another name for the cube, or add --no-sidecars."
            raise Refusal("only a cube's own sidecar is replaced", uri, fix)


def withdraw(cube: str) -> None:
    """Delete the sidecars of a cube, the item first, and what was drawn of it; nothing else."""
    drawn = (stem(cube) + ending for ending in (LOOK, SPECTRA, REPORT))
    for uri in (*Sidecars.of(cube), *drawn):
        if _exists(uri) and is_ours(uri):
            fs, path = fsspec.core.url_to_fs(uri)
            fs.rm_file(path)


def write_sidecars(cube: SpectralCube) -> None:
    """Write VRT and quicklook of a whole cube; writing them again changes no byte."""
    labels, places = Labels.of(cube), Sidecars.of(cube.uri)
    with published(places.vrt) as path:
        path.write_bytes(vrt(cube.uri, labels, cube.companion.overviews))
    with published(places.quicklook) as path:
        write_quicklook(cube, path)


def publish(cube: SpectralCube, when: Moment) -> str:
    """Write the STAC item of a sealed cube with its sidecars; returns its URI."""
    places = Sidecars.of(cube.uri)
    factor, _ = drawn_from(cube)
    about = item(cube.uri, Labels.of(cube), when, factor)
    with published(places.item) as path:
        path.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return places.item


def untrue(cube: SpectralCube) -> Iterator[str]:
    """In words, which of a sealed cube's sidecars that are there does not follow from it."""
    places, labels = Sidecars.of(cube.uri), Labels.of(cube)
    if _exists(places.vrt):
        made = vrt(cube.uri, labels, cube.companion.overviews)
        if _bare(_bytes(places.vrt)) != _bare(made):
            yield f"{places.vrt} is not the cube's"
    if _exists(places.quicklook):
        with TemporaryDirectory() as folder:
            there, again = Path(folder, "there.tif"), Path(folder, "again.tif")
            there.write_bytes(_bytes(places.quicklook))
            write_quicklook(cube, again)
            if _seen(there) != _seen(again):
                yield f"{places.quicklook} is not the cube's"
    if _exists(places.item) and all(map(_exists, places)):
        yield from _untrue_item(cube, places.item, labels)


def _untrue_item(cube: SpectralCube, uri: str, labels: Labels) -> Iterator[str]:
    try:
        found = json.loads(_bytes(uri))
        when = given(found["properties"]["datetime"])
    except (ValueError, LookupError, TypeError) as error:
        yield f"{uri} cannot be read ({error!r})"
        return
    wanted = json.loads(json.dumps(item(cube.uri, labels, when, drawn_from(cube)[0])))
    for about in (found, wanted):
        # Who said the time, and by which version, the cube does not know.
        for key in ("description", "processing:software"):
            about["properties"].pop(key, None)
    if apart := [key for key in wanted if found.get(key) != wanted[key]]:
        yield f"{uri} is not the cube's: other {', '.join(apart)}"


def _bytes(uri: str) -> bytes:
    with fsspec.open(uri, "rb") as file:
        return bytes(file.read())


def _bare(text: bytes) -> bytes:
    """A VRT without its words, which another version may choose otherwise."""
    return re.sub(rb'<MDI key="DESCRIPTION">[^<]*</MDI>', b"", text)


def _seen(path: Path) -> tuple[Any, ...]:
    """What a reader sees in a picture, however it is compressed; nothing where it is none."""
    try:
        with without_place(), rasterio.open(path) as file:
            return file.transform, file.crs, file.read().tobytes()
    except RasterioIOError:
        return ()


def _exists(uri: str) -> bool:
    fs, path = fsspec.core.url_to_fs(uri)
    return bool(fs.exists(path))
