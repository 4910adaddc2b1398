"""Training, put together: scenes and cameras from the pipeline, the loop from the model."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from threadpoolctl import threadpool_limits

from flows.begun import MACHINE, taken_up
from flows.bound import exact_products
from flows.curves import draw_curve, tensorboard
from flows.learn_settings import TrainSettings
from flows.lineage import lineage
from flows.scenes import scenes_of
from flows.shown import beside_of, crops_of
from model import NetworkConfig, R2HDiff
from model.checkpoint import describe, load, save
from model.shipped import named
from model.train import Batch, TrainConfig, Trainer
from pipeline.crops import Crops, spectral_prior
from pipeline.errors import Refusal


def start_of(settings: TrainSettings, crops: Crops) -> R2HDiff:
    """The model that training starts from: of the checkpoint ``init``, or a new one.

    Raises Refusal where the checkpoint's network or wavelengths are not those of the training. Its
    schedule may be another: the network is told how much signal is left, not which step it is.
    """
    if settings.init is None:
        return new_model(settings, crops)
    begun, network = load(named(settings.init)), _network(settings, crops)
    same = replace(begun.config, schedule=network.schedule)
    found = {"network": same, "wavelengths": tuple(begun.wavelengths.tolist())}
    wanted = {"network": network, "wavelengths": crops.cameras[0].wavelengths}
    if found != wanted:
        rule = "training starts from a checkpoint of the same network and wavelengths"
        raise Refusal(rule, f"{settings.init} with {found}", f"Wanted: {wanted}.")
    model = R2HDiff(network, begun.wavelengths, begun.prior)
    model.load_state_dict(begun.state_dict())
    return model


def _network(settings: TrainSettings, crops: Crops) -> NetworkConfig:
    bands = len(crops.cameras[0].wavelengths)
    try:
        return NetworkConfig(bands=bands, **settings.network.model_dump())
    except ValueError as error:
        raise Refusal("[network] must be one that there is", error, "Change it.") from error


def new_model(settings: TrainSettings, crops: Crops) -> R2HDiff:
    """An untrained model whose prior and unit come from the training spectra."""
    torch.manual_seed(settings.seed)
    prior = torch.from_numpy(spectral_prior(crops))
    wavelengths = torch.tensor(crops.cameras[0].wavelengths)
    model = R2HDiff(_network(settings, crops), wavelengths, prior)
    with torch.no_grad():
        # Sixteen batches give the size of a state to about one in a hundred.
        batches = [_tensors(*crops.at(i)) for i in range(16)]
        states = [model.to_state(b.cube, model.condition(b.rgb, b.sensitivities)) for b in batches]
        values = torch.cat([state.flatten() for state in states])
        model.deviation.copy_(values.square().mean().sqrt())
    return model


def _tensors(*arrays: np.ndarray) -> Batch:
    return Batch(*(torch.from_numpy(array) for array in arrays))


def train(
    settings: TrainSettings,
    root: str | Path,
    folder: Path,
    report: Callable[[int, float], None],
) -> Path:
    """Train, or go on where ``folder`` left off; returns the checkpoint's path.

    Under torchrun each process takes its share of every batch, and the first one writes. Raises
    Refusal, or Diverged where training breaks.
    """
    settings = with_names(settings, root)
    crops = crops_of(settings, root)
    # Crops are made beside the steps, which keep the cores busy: their products have a thread each.
    with (
        _processes(settings) as device,
        threadpool_limits(1, user_api="blas"),
        ExitStack() as stack,
    ):
        if not dist.is_initialized() or dist.get_rank() == 0:
            stack.enter_context(taken_up(settings, root, folder))
        if dist.is_initialized():
            # The folder is there, and nobody reads what is being written.
            dist.barrier()
        told = provenance(settings)  # now: at the end another start may lie in its place
        trainer = Trainer(start_of(settings, crops), trainer_config(settings), folder, device)
        trainer.resume()

        def batches(first: int) -> Iterator[Batch]:
            return (_tensors(*arrays) for arrays in crops.stream(first))

        path = folder / "checkpoint.safetensors"
        with tensorboard(settings.tensorboard and trainer.rank == 0, folder) as record:

            def tell(iteration: int, loss: float) -> None:
                report(iteration, loss)
                record(iteration, loss)

            try:
                model = trainer.run(batches, tell)
            finally:
                if trainer.rank == 0:
                    draw_curve(folder)
        if trainer.rank == 0:
            save(model.cpu(), path, told)
    return path


def with_names(settings: TrainSettings, root: str | Path) -> TrainSettings:
    """The settings with the names of all scenes that they stand for.

    A split may be of what is there today: names say what was trained on, now and later.
    """
    dataset, names = scenes_of(settings, settings.dataset, root)
    others = beside_of(settings, dataset.wavelengths)
    beside = settings.beside_scenes or (tuple(others.paths) if others else ())
    return settings.model_copy(update={"scenes": names, "split": None, "beside_scenes": beside})


def trainer_config(settings: TrainSettings) -> TrainConfig:
    """What the loop is told of these settings."""
    return TrainConfig(
        iterations=settings.iterations,
        learning_rate=settings.learning_rate,
        warm_up=settings.warm_up,
        gradient_weight=settings.gradient_weight,
        clip_norm=settings.clip_norm,
        from_zero=settings.from_zero,
        average=settings.average,
        save_every=settings.save_every,
        seed=settings.seed,
        precision=settings.precision,
    )


@contextmanager
def _processes(settings: TrainSettings) -> Iterator[str]:
    """The device of this process, joined with the others that torchrun started."""
    cuda = settings.device != "cpu" and torch.cuda.is_available()
    if settings.device == "cuda" and not cuda:
        raise Refusal("--device cuda needs a CUDA device", "none", "Use --device cpu or auto.")
    exact_products()
    if not dist.is_torchelastic_launched():
        yield "cuda" if cuda else "cpu"
        return
    count = int(os.environ["WORLD_SIZE"])
    if settings.batch % count:
        rule = f"a batch must be shared evenly by {count} processes"
        raise Refusal(rule, settings.batch, "Choose a multiple with --batch.")
    device = f"cuda:{os.environ['LOCAL_RANK']}" if cuda else "cpu"
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield device
        dist.barrier()
    finally:
        dist.destroy_process_group()


def provenance(settings: TrainSettings) -> dict[str, Any]:
    """The settings as a checkpoint keeps them: files without their folders.

    Its start by digest, and with what that and those ``before`` it were trained on.
    """
    kept = settings.model_dump(mode="json", exclude=MACHINE)
    files = ("init", "reflectances", "illuminants", "beside")
    names = {key: Path(kept[key]).name for key in files if kept[key]}
    if settings.init is None:
        return kept | names
    start = describe(named(settings.init))
    return kept | names | {"init_digest": start["digest"], "before": lineage(start)}
