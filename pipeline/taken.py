"""What is where an export is to be: what it may replace, and what would be read beside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

import fsspec

from pipeline.errors import Refusal
from pipeline.guard import worlds_beside
from pipeline.ours import LOOK, REPORT, SPECTRA, refuse_ours
from pipeline.place import refuse_inside
from pipeline.publish import BESIDE, refuse_there
from pipeline.remote import Source
from pipeline.sidecar import Sidecars, stem
from pipeline.uri import local_path

_FIX = "Choose another name, or delete it yourself."


def refuse_taken(cube: str, uri: str, made: Iterable[PurePath], overwrite: bool) -> None:
    """Raise Refusal where a file that an export of ``cube`` has ``made`` at ``uri`` has no place.

    Or what GDAL would read beside it is there; with ``overwrite``, where that is another's: part of
    a cube, what lies beside this one, or a picture that R2H did not make.
    """
    refuse_inside(uri)
    fs, path = fsspec.core.url_to_fs(uri)
    kinds = (".run.json", LOOK, SPECTRA, REPORT)
    own = (*Sidecars.of(cube), *(stem(cube) + end for end in kinds))
    if path in {fsspec.core.url_to_fs(one)[1] for one in own}:
        raise Refusal("what lies beside a cube is no place for its export", uri, _FIX)
    if fs.exists(path) and _is_picture(uri):
        raise Refusal("an export replaces no picture that R2H did not make", uri, _FIX)
    if not overwrite:
        for each in (*made, *(PurePath(path + end) for end in BESIDE)):
            refuse_there(each, fs)


def _is_picture(uri: str) -> bool:
    try:
        with Source(uri).open() as dataset:
            refuse_ours(dataset)
    except Refusal:  # it is ours, or no picture
        return False
    return True


def refuse_place(uri: str) -> None:
    """Raise Refusal where a world file beside a file without a place would give it one."""
    path = local_path(uri)
    if path and (found := worlds_beside(path)):
        rule = "nothing beside a file without a place gives it one"
        raise Refusal(rule, found[0], "Choose another name.")
