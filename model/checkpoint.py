"""Checkpoints: safetensors with kind, configuration, wavelengths and digest in their metadata.

Nothing is ever unpickled. A file is refused before any tensor is allocated when its header does
not fit the model it names.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.network import NetworkConfig
from model.reconstructor import R2HDiff
from model.shipped import SHIPPED, CheckpointError

KIND = "r2h-diff"
_JSON = ("config", "wavelengths_nm", "training")


def digest(tensors: Mapping[str, Tensor], config: str) -> str:
    """sha256 of the configuration and every tensor's name, shape and bytes, hex."""
    total = hashlib.sha256(config.encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous().cpu()
        total.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        total.update(value.numpy().tobytes())
    return total.hexdigest()


def save(model: R2HDiff, path: Path, training: dict[str, Any]) -> str:
    """Write the model and how it was trained (JSON-able); returns the digest."""
    return write(path, (KIND, asdict(model.config)), model.state_dict(), training)


def write(
    path: Path,
    what: tuple[str, dict[str, Any]],
    tensors: Mapping[str, Tensor],
    training: dict[str, Any],
) -> str:
    """Write a model of a kind and configuration, and how it was trained; returns the digest.

    Its wavelengths (nm, float64) must be among the tensors, so that the digest covers them.
    """
    kind, config = what
    whole = {name: value.contiguous() for name, value in tensors.items()}
    nm = whole["wavelengths"].tolist()
    about = {"config": config, "wavelengths_nm": nm, "training": training}
    metadata = {key: json.dumps(about[key], sort_keys=True) for key in _JSON}
    identity = digest(whole, metadata["config"])
    put(path, whole, {**metadata, "kind": kind, "digest": identity})
    return identity


def put(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a file in one move. Raises OSError where there is no room or no leave for it."""
    partial = path.with_suffix(".partial")
    try:
        save_file(tensors, partial, metadata)
        # safetensors writes for the owner alone; weights are for every user of a machine or image.
        partial.chmod(0o644)
        partial.replace(path)
    except SafetensorError as error:
        partial.unlink(missing_ok=True)
        raise OSError(f"{path}: {error}") from error


def describe(path: Path = SHIPPED) -> dict[str, Any]:
    """kind, config, wavelengths_nm, training and digest of a checkpoint; reads the header only."""
    metadata = _header(path)[0]
    try:
        parsed = {key: json.loads(metadata[key]) for key in _JSON}
        return {**parsed, "kind": metadata["kind"], "digest": metadata["digest"]}
    except (KeyError, ValueError, RecursionError) as error:
        raise refused(path, f"metadata that lacks or garbles something: {error}") from error


def load(path: Path = SHIPPED) -> R2HDiff:
    """The model of a checkpoint, on the CPU, in evaluation mode.

    Raises CheckpointError for a missing or foreign file, shapes that do not fit the configuration,
    and a digest that does not match.
    """
    about = describe_kind(path, KIND)
    model = _empty(path, about)
    like = model.state_dict()
    tensors = read(path, about, like)
    # Not Module.to_empty: from that device it imports sympy, for seconds.
    own = {name: value.clone() for name, value in tensors.items()}
    model.load_state_dict(own, assign=True)
    return model.eval()


def describe_kind(path: Path, kind: str) -> dict[str, Any]:
    """The same as `describe`. Raises CheckpointError for a model of another kind."""
    about = describe(path)
    if about["kind"] != kind:
        raise refused(path, f"kind {about['kind']} where {kind} is needed")
    return about


def read(path: Path, about: Mapping[str, Any], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a described checkpoint, which must have the names and shapes of ``like``.

    Raises CheckpointError for others, and for bytes that do not match the digest.
    """
    if _header(path)[1] != {name: tuple(value.shape) for name, value in like.items()}:
        raise refused(path, "tensors that are not those of its configuration")
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if digest(tensors, json.dumps(about["config"], sort_keys=True)) != about["digest"]:
        raise refused(path, "bytes that do not match its digest")
    if tensors["wavelengths"].tolist() != about["wavelengths_nm"]:
        raise refused(path, "wavelengths that are not those of its metadata")
    return tensors


def _empty(path: Path, about: dict[str, Any]) -> R2HDiff:
    """The model's shape without its memory, so that a header may ask for anything."""
    with configured(path):
        config = about["config"].items()
        lists: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config}
        shape = NetworkConfig(**lists)
        if shape.bottom > 64 or len(shape.widths) > 16:
            raise ValueError("absurdly large")
        with torch.device("meta"):
            # Not torch.eye: on this device it imports the whole of torch._dynamo, seconds of it.
            return R2HDiff(shape, torch.empty(shape.bands), torch.empty(shape.bands, shape.bands))


@contextmanager
def configured(path: Path) -> Iterator[None]:
    """Refuse a checkpoint whose configuration cannot be made sense of."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise refused(path, f"an unknown configuration: {error}") from error


def _header(path: Path) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            return file.metadata() or {}, {n: tuple(file.get_slice(n).get_shape()) for n in names}
    except (OSError, SafetensorError) as error:
        raise refused(path, f"{type(error).__name__}: {error}") from error


def refused(path: Path, what: str) -> CheckpointError:
    """The error for a file that is no fitting checkpoint, in one line."""
    return CheckpointError(
        f"a checkpoint must be a safetensors file written by `r2h train`; got {path} with "
        f"{' '.join(what.split())}. Leave --checkpoint out to use the shipped weights."
    )
