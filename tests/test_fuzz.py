"""Broken files in short; `make fuzz` reads them by the hundred thousand, under limits."""

import pytest

from tests.fuzz import targets
from tests.fuzz.mutate import mutated

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.mark.parametrize("kind", targets.KINDS)
def test_a_broken_file_is_read_or_refused_in_one_line(tmp_path, kind):
    path, seeds = targets.begin(kind, tmp_path)
    for number in range(10 if kind == "safetensors" else 60):
        path.write_bytes(mutated(seeds, number))
        said = ""
        try:
            targets.READERS[kind](str(path))
        except targets.REFUSED as refusal:
            said = str(refusal)
        assert "\n" not in said
