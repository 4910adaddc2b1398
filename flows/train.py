"""Training, put together: scenes and cameras from the pipeline, the loop from the model."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flows.settings import TrainSettings
from model import NetworkConfig, R2HDiff
from model.checkpoint import describe, load, save
from model.train import Batch, TrainConfig, Trainer
from pipeline.camera import Floats, library, load_camera, resampled
from pipeline.datasets import CAVE_WAVELENGTHS, Crops, cave_cube, cave_scenes, spectral_prior
from pipeline.errors import Refusal
from pipeline.materials import measured_reflectances


def crops_of(settings: TrainSettings, root: Path) -> Crops:
    """The training crops of a CAVE folder under these settings."""
    folders = scene_folders(settings, root)
    shares = camera_shares(settings)
    return Crops(
        cubes=[cave_cube(folder) for folder in folders],
        cameras=[resampled(load_camera(name), CAVE_WAVELENGTHS) for name in shares],
        shares=list(shares.values()),
        crop=settings.crop,
        batch=settings.batch,
        exposure=settings.exposure,
        seed=settings.seed,
        repaint=settings.repaint,
        materials=_materials(settings),
    )


def _materials(settings: TrainSettings) -> Floats:
    """Measured reflectances (n, bands), none where nothing is repainted."""
    if not settings.repaint:
        return np.empty((0, len(CAVE_WAVELENGTHS)), np.float32)
    if settings.reflectances is None:
        fix = "Give --reflectances, or --repaint 0."
        raise Refusal("repainting needs measured reflectances", settings.repaint, fix)
    return measured_reflectances(Path(settings.reflectances), CAVE_WAVELENGTHS)


def scene_folders(settings: TrainSettings, root: Path) -> list[Path]:
    """Folders of the scenes named in the settings. Raises Refusal where one is missing."""
    folders = cave_scenes(root)
    if missing := [name for name in settings.scenes if name not in folders]:
        raise Refusal("every scene named must be in the root", missing, "Unpack them there.")
    return [folders[name] for name in settings.scenes]


def camera_shares(settings: TrainSettings) -> dict[str, float]:
    """Probability of each camera; 'library' is spread over the cameras not named otherwise."""
    known = library()
    if unknown := {*settings.cameras, *settings.held_out_cameras} - {*known, "library"}:
        # A misspelt name would otherwise be trained on in silence.
        raise Refusal("every camera named must be in the library", unknown, "See configs/cameras.")
    shares = {name: share for name, share in settings.cameras.items() if name != "library"}
    out = {*shares, *settings.held_out_cameras}
    rest = [name for name in known if name not in out]
    spread = settings.cameras.get("library", 0.0)
    shares |= {name: spread / len(rest) for name in rest if spread}
    total = sum(shares.values())
    if not total > 0 or min(shares.values()) < 0:
        raise Refusal("cameras must have shares that sum above 0", settings.cameras, "Raise one.")
    return {name: share / total for name, share in shares.items()}


def start_of(settings: TrainSettings, crops: Crops) -> R2HDiff:
    """The model that training starts from: of the checkpoint ``init``, or a new one.

    Raises Refusal where the checkpoint's network or wavelengths are not those of the training.
    """
    if settings.init is None:
        return new_model(settings, crops)
    model = load(Path(settings.init))
    found = {"network": model.config, "wavelengths": tuple(model.wavelengths.tolist())}
    network = NetworkConfig(**settings.network.model_dump())
    wanted = {"network": network, "wavelengths": CAVE_WAVELENGTHS}
    if found != wanted:
        rule = "training starts from a checkpoint of the same network and wavelengths"
        raise Refusal(rule, f"{settings.init} with {found}", f"Wanted: {wanted}.")
    return model


def new_model(settings: TrainSettings, crops: Crops) -> R2HDiff:
    """An untrained model whose prior and unit come from the training spectra."""
    torch.manual_seed(settings.seed)
    config = NetworkConfig(**settings.network.model_dump())
    prior = torch.from_numpy(spectral_prior(crops))
    model = R2HDiff(config, torch.tensor(CAVE_WAVELENGTHS), prior)
    scales = crops.scales()
    with torch.no_grad():
        # Sixteen batches give the size of a state to about one in a hundred.
        batches = [_tensors(*crops.at(i, scales)) for i in range(16)]
        states = [model.to_state(b.cube, model.condition(b.rgb, b.sensitivities)) for b in batches]
        model.deviation.copy_(torch.cat(states).square().mean().sqrt())
    return model


def _tensors(*arrays: np.ndarray) -> Batch:
    return Batch(*(torch.from_numpy(array) for array in arrays))


def train(
    settings: TrainSettings, root: Path, folder: Path, report: Callable[[int, float], None]
) -> Path:
    """Train, or go on where ``folder`` left off; returns the checkpoint's path."""
    crops = crops_of(settings, root)
    config = TrainConfig(
        iterations=settings.iterations,
        learning_rate=settings.learning_rate,
        warm_up=settings.warm_up,
        gradient_weight=settings.gradient_weight,
        save_every=settings.save_every,
        seed=settings.seed,
    )
    _keep_settings(settings, folder)
    trainer = Trainer(start_of(settings, crops), config, folder)
    trainer.resume()

    def batches(first: int) -> Iterator[Batch]:
        return (_tensors(*arrays) for arrays in crops.stream(first))

    model = trainer.run(batches, report)
    path = folder / "checkpoint.safetensors"
    save(model, path, _provenance(settings))
    return path


def _provenance(settings: TrainSettings) -> dict[str, Any]:
    """The settings as a checkpoint keeps them: its start by digest, files without their folders."""
    kept = settings.model_dump(mode="json")
    names = {key: Path(kept[key]).name for key in ("init", "reflectances") if kept[key]}
    start = {"init_digest": describe(Path(settings.init))["digest"]} if settings.init else {}
    return kept | names | start


def _keep_settings(settings: TrainSettings, folder: Path) -> None:
    """Write the settings beside the state; refuse to go on under other ones."""
    folder.mkdir(parents=True, exist_ok=True)
    path, wanted = folder / "settings.json", settings.model_dump(mode="json")
    begun = json.loads(path.read_text()) if path.exists() else wanted
    for key, value in wanted.items():
        if begun.get(key) != value:
            change = f"{key} {begun.get(key)} when it was begun, {value} now"
            fix = "Train in another folder, or as it was begun."
            raise Refusal("training goes on under the settings it was begun with", change, fix)
    path.write_text(json.dumps(wanted, indent=2))
