"""Files of one kind, read in a process of its own under limits."""

import multiprocessing
import resource
import signal
import tempfile
import traceback
import warnings
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from rasterio.errors import NotGeoreferencedWarning

from tests.fuzz import targets
from tests.fuzz.mutate import mutated

SECONDS, MEMORY = 10, 1_000_000_000
# Beyond it a process ends; less, or a file that was refused for want of memory would look harmless.
_LIMIT = 4 * MEMORY
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.fuzz.targets"])


def work(kind: str, first: int, last: int, at: "Synchronized[int]", found: Any) -> None:
    """Read files number ``first`` to ``last``; ``at`` says which, ``found`` gets what was wrong."""
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    with tempfile.TemporaryDirectory() as name:
        path, seeds = targets.begin(kind, Path(name))
        _limit_memory()
        for number in range(first, last):
            at.value = number
            path.write_bytes(mutated(seeds, number))
            before = _most_memory()
            # Of the processor: on a busy machine a second is not a second. Its end is the end.
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                targets.READERS[kind](str(path))
            except targets.REFUSED as refusal:
                if "\n" in str(refusal):
                    found.put((kind, number, f"more than a line: {refusal}"))
            except BaseException:
                found.put((kind, number, traceback.format_exc(limit=-3)))
            if (taken := _most_memory() - before) > MEMORY:
                found.put((kind, number, f"took {taken / 1e9:.2f} GB"))
        signal.setitimer(signal.ITIMER_PROF, 0)
        at.value = last


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _LIMIT
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _most_memory() -> int:
    """Most bytes in memory at once since this was last asked."""
    about = Path("/proc/self/status").read_text()
    most = 1024 * int(about.partition("VmHWM:")[2].split(maxsplit=1)[0])
    Path("/proc/self/clear_refs").write_text("5")
    return most


def fuzz(kind: str, first: int, count: int) -> list[tuple[str, int, str]]:
    """What was wrong with ``count`` files of a kind: kind, number, why."""
    at, found, wrong = _context.Value("q", first), _context.Queue(), []
    while at.value < first + count:
        begin = at.value
        process = _context.Process(target=work, args=(kind, begin, first + count, at, found))
        process.start()
        while process.exitcode is None:
            before = at.value
            process.join(600)  # a worker's start may take minutes on a busy machine
            if process.exitcode is None and at.value == before:
                process.kill()
        while not found.empty():
            wrong.append(found.get())
        if at.value < first + count:
            end = f"ended the process: {process.exitcode}"
            assert at.value > begin or process.exitcode < 0, f"{kind} does not begin: {end}"
            wrong.append((kind, at.value, end))
            at.value += 1
    return wrong
