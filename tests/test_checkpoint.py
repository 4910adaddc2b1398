import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import model as r2h
from model import checkpoint
from model.checkpoint import describe, digest
from model.shipped import SHIPPED, CheckpointError, named
from tests.model_fixtures import WAVELENGTHS, awake, camera, small_model, start_noise, tile

TRAINING = {"scenes": ["balloons"], "seed": 3}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    checkpoint.save(awake(small_model()), path, TRAINING)
    return path


def rewrite(path: Path, tensors: dict[str, Any] | None = None, **metadata: str) -> None:
    """The same file with other tensors or metadata, and a digest that fits them."""
    about = r2h.describe(path)
    kept = {key: json.dumps(about[key]) for key in ("config", "wavelengths_nm", "training")}
    whole = {**kept, "kind": "r2h-diff", **metadata}
    tensors = load_file(path) | (tensors or {})
    config = json.dumps(json.loads(whole["config"]), sort_keys=True)
    save_file(tensors, path, {"digest": digest(tensors, config), **whole})


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        r2h.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_a_model_comes_back_as_it_was(path: Path) -> None:
    before, after = awake(small_model()), r2h.load(path)
    assert after.config == before.config
    assert not after.training
    for name, value in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], value)
        assert after.state_dict()[name].dtype == value.dtype
    with torch.no_grad():
        ours, theirs = (m(tile(), camera(), start_noise(), 5) for m in (after, before))
    assert torch.equal(ours, theirs)


def test_a_loaded_model_can_be_trained_on(path: Path) -> None:
    assert all(p.requires_grad for p in r2h.load(path).parameters())


def test_loading_draws_no_random_numbers(path: Path) -> None:
    before = torch.get_rng_state()
    r2h.load(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_saving_twice_gives_one_digest_and_leaves_nothing_else(path: Path) -> None:
    again = checkpoint.save(r2h.load(path), path, TRAINING)
    assert again == r2h.describe(path)["digest"]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_describe_reads_no_tensor(path: Path) -> None:
    whole = path.read_bytes()
    size = 8 + int.from_bytes(whole[:8], "little")
    path.write_bytes(whole[:size] + bytes(len(whole) - size))
    about = r2h.describe(path)
    assert about["kind"] == "r2h-diff"
    assert about["training"] == TRAINING
    assert about["wavelengths_nm"] == WAVELENGTHS.tolist()
    assert about["config"]["widths"] == [4, 8]
    assert len(about["digest"]) == 64
    assert "digest" in refusal(path)


@pytest.mark.parametrize("at", [-1, -400])
def test_a_flipped_bit_is_noticed(path: Path, at: int) -> None:
    whole = bytearray(path.read_bytes())
    whole[at] ^= 1
    path.write_bytes(whole)
    assert "digest" in refusal(path)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    refusal(path)


def test_a_pickle_is_refused_unread(path: Path) -> None:
    torch.save({"weight": torch.ones(3)}, path)
    refusal(path)
    path.write_bytes(pickle.dumps({"weight": [1.0] * 100}))
    refusal(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    refusal(tmp_path / "nothing.safetensors")
    refusal(tmp_path)


def test_a_foreign_safetensors_file_is_refused(path: Path) -> None:
    save_file({"weight": torch.ones(3)}, path)
    assert "metadata" in refusal(path)


def test_another_kind_of_model_is_refused(path: Path) -> None:
    rewrite(path, kind="root-polynomial")
    assert "root-polynomial" in refusal(path)


@pytest.mark.parametrize(
    "tensors", [{"prior": torch.eye(8)}, {"extra": torch.ones(1)}, {"prior": torch.ones(49)}]
)
def test_shapes_that_do_not_fit_are_refused(path: Path, tensors: dict[str, Any]) -> None:
    rewrite(path, tensors)
    assert "tensors" in refusal(path)


def test_wavelengths_other_than_the_metadatas_are_refused(path: Path) -> None:
    rewrite(path, wavelengths_nm=json.dumps([1.0] * 7))
    assert "wavelengths" in refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        {"widths": [1 << 40, 1 << 41]},
        {"widths": [1 << 80, 1 << 81]},
        {"widths": [4, 8, 16]},
        {"widths": []},
        {"widths": "wide"},
        {"widths": [4.5, 9]},
        {"heads": [3, 3]},
        {"bands": -1},
        {"bottom": 10**9},
        {"target": "else"},
        {"schedule": "else"},
        {"unknown": 1},
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(path: Path, change: dict[str, Any]) -> None:
    rewrite(path, config=json.dumps({**r2h.describe(path)["config"], **change}))
    refusal(path)


@pytest.mark.parametrize("text", ["[]", "null", "3"])
def test_a_configuration_that_is_no_table_is_refused(path: Path, text: str) -> None:
    rewrite(path, config=text)
    assert "configuration" in refusal(path)


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_garbled_metadata_is_refused(path: Path, text: str) -> None:
    rewrite(path, training=text)
    assert "metadata" in refusal(path)


@pytest.mark.parametrize("name", ["r2h-cave", "r2h-wide"])
def test_weights_that_ship_are_found_by_name_and_their_card_tells_their_digest(name: str) -> None:
    path = named(name)
    assert path == SHIPPED.with_name(f"{name}.safetensors")
    assert describe(path)["digest"] in path.with_suffix(".md").read_text()


def test_a_file_goes_before_a_name_and_what_is_no_name_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r2h-cave").touch()
    assert named("r2h-cave") == Path("r2h-cave")
    for other in ("no-such", "runs/r2h-wide", str(SHIPPED)):
        assert named(other) == Path(other)
