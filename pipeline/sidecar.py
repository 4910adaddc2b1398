"""What lies beside a cube for those who cannot open it, look at it or find it."""

from __future__ import annotations

import json
from typing import NamedTuple

import fsspec

from pipeline.cube import SpectralCube
from pipeline.errors import Refusal
from pipeline.labels import Labels
from pipeline.moment import Moment
from pipeline.ours import LOOK, QUICKLOOK, REPORT, SPECTRA, is_ours
from pipeline.publish import published
from pipeline.quicklook import drawn_from, write_quicklook
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


def _exists(uri: str) -> bool:
    fs, path = fsspec.core.url_to_fs(uri)
    return bool(fs.exists(path))
