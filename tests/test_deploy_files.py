"""Files that others read: image, compose, Kubernetes, SLURM. As far as they can be checked here."""

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"


def documents():
    return [
        pytest.param(document, id=f"{path.stem}-{document['kind']}")
        for path in sorted(DEPLOY.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    ]


@pytest.mark.parametrize("document", documents())
def test_manifests_hold_the_schema_of_kubernetes(document):
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_the_image_is_clean_to_hadolint():
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout


def test_what_the_image_is_built_of_reaches_the_build():
    words = (line.split() for line in (ROOT / "Dockerfile").read_text().splitlines())
    copied = {name for w in words if w[:1] == ["COPY"] and "--from" not in w[1] for name in w[1:-1]}
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "packages"
    ]
    assert copied - {"."} <= kept
    assert {name.partition(".")[0] for name in packages} <= kept
    assert all((ROOT / name).exists() for name in kept)


def test_compose_holds_its_schema():
    check = Path(sys.executable).with_name("check-jsonschema")
    command = [check, "--builtin-schema", "vendor.compose-spec", ROOT / "compose.yaml"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_the_images_packages_are_those_that_are_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.search(r"^ARG EXTRAS=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[1]
    optional = (project["optional-dependencies"][name] for name in extras.split(","))
    wanted = sum(optional, project["dependencies"])
    lines = (ROOT / "requirements" / "container.txt").read_text().splitlines()
    locked = dict(line.split(" --hash")[0].split("==") for line in lines if "==" in line)
    locked = {canonicalize_name(name): version for name, version in locked.items()}
    for asked in map(Requirement, wanted):
        assert locked[canonicalize_name(asked.name)] in asked.specifier, asked
    tested = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in tested if "==" in line and line[0] != "#")
    for name, version in pinned.items():
        known = canonicalize_name(name)
        assert locked.get(known, version) == version.split()[0], name


def test_compose_has_a_healthy_order():
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    services = compose["services"]
    assert services.keys() == {"database", "server", "deploy", "worker"}
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert services[needed]["healthcheck"]["test"][0] == "CMD", (name, needed)
    assert services["database"]["image"].partition(":")[2][0].isdigit(), "pinned"
    # A password has no default, and no port is open to other machines.
    assert ":?" in services["database"]["environment"]["POSTGRES_PASSWORD"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in ports)


def script(path, text):
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def test_scripts_are_clean_to_shellcheck():
    scripts = [*DEPLOY.glob("*.sh"), *Path(__file__).parent.glob("*.sh")]
    shellcheck = Path(sys.executable).with_name("shellcheck")
    found = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("scene", "name"),
    [
        ("s3://b/v1.2/scene", "scene"),
        ("https://h/x.tif?sig=ab.cd/e", "x"),
        ("b c.d.tif\r", "b c.d"),
        ("# later", None),
        ("", None),
    ],
)
def test_an_array_task_names_its_cube_by_the_raster(tmp_path, scene, name):
    script(tmp_path / "r2h", f'printf "%s|" "$@" > {tmp_path}/began')
    (tmp_path / "scenes.txt").write_text(f"a.tif\n{scene}", newline="")
    slurm = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_JOB_ID": "7"}
    env = {**os.environ, **slurm, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", DEPLOY / "slurm-array.sh"], cwd=tmp_path, env=env, check=True)
    began = tmp_path / "began"
    assert (began.read_text().split("|")[2] if began.exists() else None) == (
        name and f"cubes/{name}.zarr"
    )


@pytest.mark.parametrize(("trap", "code"), [('trap "exit 75" TERM;', 75), ("", 143)])
def test_a_preempted_array_task_ends_in_order_and_is_queued_again(tmp_path, trap, code):
    script(tmp_path / "r2h", f'echo "$@" > {tmp_path}/began; {trap} sleep 30 & wait')
    script(tmp_path / "scontrol", f'echo "$@" > {tmp_path}/queued')
    (tmp_path / "scenes.txt").write_text("a.tif\nb.tif\n")
    slurm = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_JOB_ID": "7"}
    env = {**os.environ, **slurm, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    task = subprocess.Popen(["bash", DEPLOY / "slurm-array.sh"], cwd=tmp_path, env=env)
    while not (tmp_path / "began").exists():
        time.sleep(0.05)
    time.sleep(0.2)
    task.send_signal(signal.SIGTERM)
    assert task.wait(20) == code
    assert (tmp_path / "began").read_text().startswith("reconstruct b.tif cubes/b.zarr --resume")
    assert (tmp_path / "queued").read_text() == "requeue 7_2\n"
