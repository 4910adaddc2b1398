"""Files that go where none has gone yet, by atheris: python -m tests.fuzz.guided KIND FILES.

It sees the lines of our own code and of the readers in Python; GDAL, HDF5 and JSON are one step.
"""

import sys
import tempfile
from pathlib import Path

import atheris

SEEN = ["pipeline", "flows.inputs", "flows.catalog", "flows.settings", "pystac", "tomllib"]
with atheris.instrument_imports(include=SEEN):
    from tests.fuzz import targets


def main(kind: str, files: str) -> None:
    """Read files until one is neither read nor refused, which is kept as crash-..., or to the end.

    atheris ends the process: 0 where nothing was wrong.
    """
    folder = Path(tempfile.mkdtemp(prefix="r2h-fuzz-"))
    path, seeds = targets.begin(kind, folder)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)

    def one(data: bytes) -> None:
        path.write_bytes(data)
        try:
            targets.READERS[kind](str(path))
        except targets.REFUSED as refusal:
            said = str(refusal)
            if "\n" in said:
                raise RuntimeError(f"more than a line: {said}") from refusal

    limits = ("-timeout=10", "-rss_limit_mb=1400", "-max_len=20000", "-print_final_stats=1")
    atheris.Setup([sys.argv[0], f"-runs={files}", *limits, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
