import logging
import re
import string
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import damage  # noqa: F401 (its filter)
from pipeline.errors import Refusal, by_itself
from pipeline.redact import redact, redacted
from tests.faults.run import TILING, raster
from tests.servers import serving

secret = st.text(string.ascii_letters + string.digits + "+/=%._-", min_size=8, max_size=60)
word = st.text(string.ascii_lowercase, min_size=1, max_size=8)
text = st.text(string.ascii_letters + " ,.'", max_size=20)


@given(secret, word, word, text, st.sampled_from(["https", "s3", "az", "/vsicurl/https"]))
def test_what_signs_a_url_or_names_its_user_never_stays(value, host, name, around, scheme):
    value = f"S{value}"
    for url in (
        f"{scheme}://{host}.org/{name}.tif?X-Amz-Signature={value}",
        f"{scheme}://{host}.org/{name}.tif?sv=1&sig={value}#x",
        f"{scheme}://{host}.org/{name}.tif#{value}",
        f"{scheme}://me:{value.replace('/', '')}@{host}.org/{name}.tif",
        f"{scheme}://{value.replace('/', '')}@{host}.org/{name}.tif",
    ):
        shown = redact(f"{around} {url} {around}")
        assert value not in shown
        assert value.replace("/", "") not in shown
        assert f"{host}.org/{name}.tif" in shown
        assert redact(shown) == shown
    assert value not in redact(f"{name}.tif?sig={value}, band 1: {around}")


@given(
    secret, st.sampled_from(["aws_secret_access_key=", "token: ", '"password": "', "sas_token="])
)
def test_named_secrets_never_stay(value, name):
    assert value not in redact(f"before {name}{value}")


@given(st.text(string.ascii_uppercase + string.digits, min_size=16, max_size=16))
def test_aws_key_ids_never_stay(tail):
    assert tail not in redact(f"Credential AKIA{tail} was refused")


@given(secret.filter(lambda value: len(value) >= 16), text)
def test_the_environments_secrets_never_stay(value, around):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_SESSION_TOKEN", value)
        assert value not in redact(f"{around}{value}{around}")
        assert value not in str(redacted({"a": [{"b": f"x{value}"}], "c": 1}))
        assert value not in str(Refusal("a rule", value, "A fix."))


@pytest.mark.parametrize(
    "plain",
    [
        "/data/some image?.tif",
        "s3://bucket/scenes/*.tif at Window(row=0, col=0)",
        "file:///a%3Fb.tif",
        "seed 0 in the cube, 1 now",
        "https://host:9000/a/b.tif",
    ],
)
def test_other_text_stays_as_it_is(plain):
    assert redact(plain) == plain


def test_lines_of_rasterio_hold_no_secret(caplog):
    for name in ("rasterio._env", "rasterio._err"):
        logging.getLogger(name).warning(
            "%s failed", "/vsicurl/http://me:pa55@host/a.tif?sig=S3CRET"
        )
    assert "/a.tif?*** failed" in caplog.text
    assert not re.search("pa55|S3CRET", caplog.text)


def test_what_passes_to_another_process_goes_by_itself():
    @by_itself()
    def refuse():
        try:
            raise RuntimeError("https://me:pa55@host")
        except RuntimeError as error:
            raise Refusal("a rule", "a value", "A fix.") from error

    with pytest.raises(Refusal) as raised:
        refuse()
    assert raised.value.__cause__ is raised.value.__context__ is None


def command_lines(process):
    """Of a process and all below it, as everybody on the machine sees them."""
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            yield Path(f"/proc/{one.pid}/cmdline").read_bytes()


@pytest.mark.parametrize(
    "more",
    [
        (),
        pytest.param(("--dask", "local:1"), marks=pytest.mark.slow),
        pytest.param(("--prefect",), marks=pytest.mark.slow),
    ],
)
def test_a_run_shows_and_keeps_no_secret_of_its_command_line(
    tmp_path, tmp_path_factory, weights, monkeypatch, more
):  # fmt: skip
    pytest.importorskip("aiohttp", reason="the ETag of an http:// input needs the extra 'cloud'")
    # Prefect's database holds parameters as they are.
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
    hidden = "s3Cr3tOfTh3UrL"
    (tmp_path / "in").mkdir()
    raster(tmp_path / "in/a.tif", 64, 64)
    r2h = (sys.executable, "-c", "from flows.cli import main; main()", "reconstruct")
    with serving("files", tmp_path / "in") as address:
        url = f"{address}/a.tif?X-Amz-Signature={hidden}".replace("://", f"://me:{hidden}@")
        words = (*r2h, url, tmp_path / "out/a.zarr", "--checkpoint", weights, *TILING, *more)
        with subprocess.Popen(
            words, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as run:
            process, family = psutil.Process(run.pid), set()
            while b"***" not in next(command_lines(process)):
                assert run.poll() is None
                time.sleep(0.01)
            while run.poll() is None:
                family.update(command_lines(process))
                time.sleep(0.05)
            said = run.stdout.read()
    assert run.returncode == 0, said
    assert len(family) > 1 or not more
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 20
    assert not [text for text in (*family, said, *kept) if hidden.encode() in text]
