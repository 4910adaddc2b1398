"""What a model has seen: the scenes of its own training, and of all models it started from."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from model.checkpoint import describe
from model.shipped import SHIPPED

Link = dict[str, Any]
"""One training: the model's ``digest``, its ``dataset``, ``scenes``, and those ``beside`` it.

``scenes`` is empty where nobody says them.
"""


def lineage(about: Mapping[str, Any]) -> list[Link]:
    """A described checkpoint's training, that of its start, and so on back."""
    training = about["training"]
    before = training["before"] if "before" in training else _looked_up(training)
    return [_link(about["digest"], training), *before]


def _looked_up(training: Mapping[str, Any]) -> list[Link]:
    """Of a version that kept no more than its start's digest: what ships may be that."""
    digest = training.get("init_digest")
    if digest is None:
        return []
    known = (describe(path) for path in sorted(SHIPPED.parent.glob("*.safetensors")))
    start = next((about for about in known if about["digest"] == digest), None)
    return lineage(start) if start else [{"digest": digest, "dataset": None, "scenes": []}]


def _link(digest: str, training: Mapping[str, Any]) -> Link:
    return {
        "digest": digest,
        "dataset": training.get("dataset", "cave"),
        "scenes": list(training.get("scenes", ())),
        "beside": training.get("beside"),
        "beside_scenes": list(training.get("beside_scenes", ())),
    }


def seen(links: Sequence[Link], dataset: str, names: Iterable[str]) -> list[str]:
    """Those of a data set's scenes that any of the trainings names, there or beside it.

    Names alone are compared, without the part of a data set, which may have been its root: of two
    scenes that are named alike both are told.
    """
    known = {name for link in links for name in link.get("beside_scenes", ())}
    known |= {name for link in links if link["dataset"] == dataset for name in link["scenes"]}
    bare = {name.rpartition("/")[2] for name in known}
    return [name for name in names if name.rpartition("/")[2] in bare]


def untold(links: Sequence[Link]) -> list[str]:
    """Digests of those whose scenes nobody says."""
    return [
        link["digest"]
        for link in links
        if not link["scenes"] or (link.get("beside") and not link["beside_scenes"])
    ]
