"""Which weights come with the package, and what is said of a file that is none: without torch."""

from pathlib import Path

SHIPPED = Path(__file__).parent / "weights" / "r2h-wide.safetensors"
"""The weights that come with the package; their card is beside them."""


class CheckpointError(ValueError):
    """A file that is no checkpoint, or not the one it says it is."""


def named(name: str | Path) -> Path:
    """A checkpoint by its path, or by the name of one that comes with the package."""
    path = Path(name)
    shipped = SHIPPED.with_name(f"{path.name.removesuffix('.safetensors')}.safetensors")
    return shipped if path.parent == Path() and not path.exists() and shipped.exists() else path
