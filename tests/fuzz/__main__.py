"""Read mutated files; prints how many, and each that was neither read nor refused."""

import argparse
import time

from tests.fuzz import targets
from tests.fuzz.run import fuzz


def main() -> None:
    """Fuzz every kind, the rasters most."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--kinds", default=",".join(targets.KINDS))
    given = parser.parse_args()
    kinds, total, wrong = given.kinds.split(","), 0, []
    for kind in kinds:
        count, start = given.files // len(kinds), time.perf_counter()
        new = fuzz(kind, given.first, count)
        total, wrong = total + count, wrong + new
        seconds = time.perf_counter() - start
        print(f"{kind}: {count} files, {len(new)} wrong, {seconds:.0f} s", flush=True)
        for one in new[:20]:
            print(*one, sep=" ", flush=True)
    print(f"{total} files, {len(wrong)} wrong")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
