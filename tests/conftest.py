"""What all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci")


@pytest.fixture
def data_root() -> Path:
    """The project's shared data; a test that needs it is skipped where it is absent."""
    default = Path(__file__).parents[1].parent / "shared" / "data"
    root = Path(os.environ.get("R2H_DATA", default))
    if not root.is_dir():
        pytest.skip(f"no data at {root}; set R2H_DATA")
    return root
