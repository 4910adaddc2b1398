"""Write requirements/container.txt: each package of the image, its version and its file's hash.

Of Python 3.11 from 3.11.3 on, on Linux x86-64 with the CPU build of torch, and of the extras that
the Dockerfile installs by itself: run `make lock` there.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
EXTRAS = ("cloud", "cluster", "stac")
ABOUT = """\
# Made by `make lock`: Python 3.11 from 3.11.3 on, Linux x86-64, torch for CPUs, extras {extras}.
# docker build --build-arg LOCKED=requirements/container.txt --build-arg PIP_EXTRA_INDEX_URL=...
"""


def main() -> None:
    """Ask pip what it would install, from nothing, and keep versions and hashes."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command += ["--report", "-", "-c", str(HERE.parent / "constraints.txt")]
    wanted = sum((project["optional-dependencies"][e] for e in EXTRAS), project["dependencies"])
    done = subprocess.run([*command, *wanted], check=True, stdout=subprocess.PIPE, text=True)
    lines = [_line(item) for item in json.loads(done.stdout)["install"]]
    about = ABOUT.format(extras=", ".join(EXTRAS))
    (HERE / "container.txt").write_text(about + "".join(sorted(lines, key=str.lower)))


def _line(item: dict) -> str:
    about = item["metadata"]
    # A local version (+cpu) is pip's to choose; the hash says which file.
    version = about["version"].split("+")[0]
    digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
    return f"{about['name']}=={version} --hash=sha256:{digest}\n"


if __name__ == "__main__":
    main()
