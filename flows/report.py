"""`r2h report`: what is known of a cube or of an evaluation, in one HTML file."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import fsspec

from flows.record import record_path
from pipeline.cube_report import cube_report
from pipeline.errors import Refusal
from pipeline.evaluation_report import evaluation_report
from pipeline.ours import REPORT, refuse_foreign
from pipeline.publish import refuse_web
from pipeline.scene import RasterScene
from pipeline.sidecar import stem
from pipeline.source import known, state
from pipeline.store import put
from pipeline.view import CubeView
from pipeline.whole import kept, refuse_lost

EVALUATION = "evaluation.report.html"


def write_evaluation(folder: Path, out: str | None = None) -> str:
    """Write the report of an evaluation into its folder, or to ``out``; returns where it is.

    Raises Refusal where the folder holds no evaluation, or something else has the place.
    """
    from flows.scorebook import cautions, read  # noqa: PLC0415 (torch takes seconds to import)

    path = report_place(out or str(folder / EVALUATION))
    try:
        whole = read(folder)
        told = cautions(whole, len({row["scene"] for row in whole["scenes"]}))
        html = evaluation_report(folder.resolve().name, whole, _error_maps(folder, whole), told)
    except (ValueError, LookupError, TypeError) as error:
        rule, fix = "evaluation.json is what r2h evaluate writes", "Evaluate again."
        raise Refusal(rule, repr(error), fix) from error
    put(path, html.encode())
    return path


def report_place(uri: str) -> str:
    """The same URI. Raises Refusal where no page of ours may be written."""
    if not uri.endswith(".html"):
        raise Refusal("a report is an HTML file", uri, "Give a name that ends in .html.")
    refuse_web(uri, "Name a file with --out.")
    refuse_foreign(uri, "Move it away, or choose another name with --out.")
    return uri


def _error_maps(folder: Path, whole: dict[str, Any]) -> dict[str, bytes]:
    # Looked for among what is there: a scene's name may be none of a file.
    drawn = {path.name: path for path in folder.glob("*.error.png")}
    names = {str(row["scene"]): error_map_name(str(row["scene"])) for row in whole["scenes"]}
    return {scene: drawn[name].read_bytes() for scene, name in names.items() if name in drawn}


def error_map_name(scene: str) -> str:
    """The file, in an evaluation's folder, that shows where methods are off in a scene."""
    return f"{scene}.error.png".replace("/", "-").replace(" ", "-")


def write_report(uri: str, out: str | None, source: str | None) -> str:
    """Write the report of a cube beside it, or to ``out``, paths or URIs; returns where it is.

    The input is shown where its header is the one that the cube was made from: from ``source``,
    or where the run found it, if that is a local file: no address that a record names is followed.
    Raises Refusal where there is no cube, a finished one lacks chunks or is replaced meanwhile,
    ``source`` is not its input, or something else has the report's place.
    """
    path = report_place(out or stem(uri) + REPORT)
    view = CubeView.open(uri)
    refuse_lost(view.cube, beside=True)
    record = record_of(uri)
    scene = input_of(view, record, source)
    with kept(view.cube) if view.cube.sealed else nullcontext():
        page = cube_report(view, record, scene)
    put(path, page.encode())
    if scene:
        scene.close()
    return path


def record_of(uri: str) -> dict[str, Any]:
    """The run.json beside a cube; empty where there is none, or what is there is none."""
    try:
        with fsspec.open(record_path(uri)) as file:
            found = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def input_of(view: CubeView, record: dict[str, Any], source: str | None) -> RasterScene | None:
    """The cube's input: from ``source``, or where the run found it if that is a local file.

    None where it is not there or is another. Raises Refusal where ``source`` is.
    """
    made_from = view.cube.settings.get("input", {})
    told = record.get("input")
    named = source or str(told.get("source") if isinstance(told, dict) else "")
    bands = made_from.get("bands")
    if not source and not Path(named).is_file():
        return None
    try:
        scene = RasterScene.open(named, tuple(bands) if bands else None)
    except Refusal:
        if source:
            raise
        return None
    if _but_name(scene.header) == _but_name(made_from) and _same(scene, named, told):
        return scene
    scene.close()
    if source:
        rule, fix = "the source is the cube's input", "Give the file that it was made from."
        raise Refusal(rule, f"another header, or other pixels, in {source}", fix)
    return None


def _same(scene: RasterScene, named: str, told: Any) -> bool:
    """Whether a file is what the run recorded: by sizes and times, or else by its bytes."""
    if not isinstance(told, dict) or "files" not in told:
        return False
    try:
        known(told, state(named, scene.files), scene.files)
    except Refusal:
        return False
    return True


def _but_name(header: dict[str, Any]) -> dict[str, Any]:
    """A header without the file's name, which its digest holds too: a moved file is the same."""
    return {key: value for key, value in header.items() if key not in ("name", "digest")}
