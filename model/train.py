"""The training loop: resumes bit for bit, keeps an average of the weights, stops when it breaks."""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.checkpoint import put
from model.diagnosis import Diverged, Watch
from model.loss import loss
from model.precision import compute_in_bfloat16
from model.reconstructor import R2HDiff
from model.record import Record
from model.shipped import CheckpointError

STATE = "state.safetensors"
"""What is kept between runs, in the training's folder."""


class Batch(NamedTuple):
    """What one iteration sees."""

    rgb: Tensor
    """(N, 3, H, W) linear, divided by each scene's scale."""
    cube: Tensor
    """(N, bands, H, W), divided alike."""
    sensitivities: Tensor
    """(N, 3, bands): each sample's camera."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How long and how fast; AdamW with a warm-up and a cosine to zero."""

    iterations: int
    learning_rate: float = 1e-3
    warm_up: int = 200
    weight_decay: float = 1e-4
    gradient_weight: float = 1.0
    clip_norm: float = 1.0
    from_zero: float = 0.0
    """Share of the crops that are seen at the chain's start: a state of zero at the noisiest step,
    as the sampler begins where no noise is asked for."""
    average: float = 0.999
    """Decay of the exponential moving average of the weights, which is what ships; 0 ships the
    weights themselves."""
    save_every: int = 250
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the network's products. Weights, lift, projections and loss are float32 in any case."""

    def rate(self, iteration: int) -> float:
        """Learning rate at an iteration."""
        done = min(1.0, iteration / self.iterations)
        return self.learning_rate * min(1.0, (iteration + 1) / self.warm_up) * _cosine(done)


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))


class Objective(nn.Module):
    """The loss of a batch: a module, so that DistributedDataParallel can add up its gradients."""

    def __init__(self, model: R2HDiff, gradient_weight: float) -> None:
        super().__init__()
        self.model, self.gradient_weight = model, gradient_weight

    def forward(
        self, batch: Batch, noise: Tensor, steps: Tensor, starts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss, and the spread within images of the estimate and of the truth (2,).

        Samples at their step (N,) of the schedule, or, where the chain ``starts`` (N,), at zero.
        """
        condition = self.model.condition(batch.rgb, batch.sensitivities)
        clean = self.model.to_state(batch.cube, condition)
        state = self.model.schedule.diffuse(clean, noise, steps)
        state = state.masked_fill(starts[:, None, None, None], 0)
        estimate = self.model.denoise(state, condition, steps)
        spread = torch.stack([x.detach().std(dim=(2, 3)).mean() for x in (estimate, clean)])
        return loss(estimate, clean, self.gradient_weight), spread


class Trainer:
    """Model, averaged model, optimiser and the number of iterations done.

    Everything random in an iteration follows from (seed, iteration), so the state on disk is the
    weights, their average, the optimiser's moments and that number. Where torch.distributed is
    initialised, every process is given the same batches and takes its share of each; the first
    one writes.
    """

    def __init__(
        self, model: R2HDiff, config: TrainConfig, folder: Path, device: str = "cpu"
    ) -> None:
        self.model, self.config, self.folder = model.train().to(device), config, folder
        self.device = torch.device(device)
        self.average = deepcopy(self.model).requires_grad_(False).eval()
        self.optimiser = torch.optim.AdamW(model.parameters(), weight_decay=config.weight_decay)
        self.iteration = 0
        self.rank, self.processes = 0, 1
        if config.precision == "bfloat16":
            compute_in_bfloat16(self.model)
        self._objective: nn.Module = Objective(self.model, config.gradient_weight)
        if dist.is_initialized():
            self.rank, self.processes = dist.get_rank(), dist.get_world_size()
            self._objective = DistributedDataParallel(self._objective)
        self._record = Record(folder / "loss.csv")
        self._watch = Watch(config.warm_up)

    @property
    def state_path(self) -> Path:
        """Where the state is kept between runs."""
        return self.folder / STATE

    def run(
        self, batches: Callable[[int], Iterator[Batch]], report: Callable[[int, float], None]
    ) -> R2HDiff:
        """Train to the last iteration; ``batches(i)`` yields them from iteration i on.

        Raises Diverged, with the state of the last save kept, when loss or gradient is not finite,
        the loss explodes, or the network answers one value wherever it looks.
        """
        for batch in batches(self.iteration):
            if self.iteration >= self.config.iterations:
                break
            value = self.step(batch)
            report(self.iteration, value)
            if self.iteration % self.config.save_every == 0:
                self.save()
        self.save()
        return self.average

    def step(self, batch: Batch) -> float:
        """One update; returns the loss."""
        rate = self.config.rate(self.iteration)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        value, spread = self._objective(*self._share(batch))
        self.optimiser.zero_grad(set_to_none=True)
        value.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        seen = torch.stack([value.detach(), *spread])
        if self.processes > 1:
            dist.all_reduce(seen)
            seen /= self.processes
        mean, estimate, truth = (float(number) for number in seen)
        # A finite loss can have a gradient that is not, and the next save would keep the damage.
        self._watch.look(self.iteration, mean, norm.item(), (estimate, truth))
        self.optimiser.step()
        self.iteration += 1
        self._follow()
        if self.rank == 0:
            self._record.add(self.iteration, mean, rate, norm.item())
        return mean

    def _share(self, batch: Batch) -> tuple[Batch, Tensor, Tensor, Tensor]:
        """What this process computes of a batch, with its noise, steps and starts, on the device.

        They are drawn for the whole batch, so that processes make no difference.
        """
        if len(batch.rgb) % self.processes:
            raise ValueError(
                f"a batch must be shared evenly; got {len(batch.rgb)} crops for {self.processes} "
                "processes. Choose a multiple."
            )
        random = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.iteration)
        steps = torch.randint(len(self.model.schedule), (len(batch.rgb),), generator=random)
        noise = torch.randn(batch.cube.shape, generator=random)
        starts = torch.rand(len(steps), generator=random) < self.config.from_zero
        steps[starts] = len(self.model.schedule) - 1
        each = len(batch.rgb) // self.processes
        mine = slice(self.rank * each, (self.rank + 1) * each)
        drawn = (*batch, noise, steps, starts)
        parts = [part[mine].to(self.device, non_blocking=True) for part in drawn]
        return Batch(*parts[:3]), parts[3], parts[4], parts[5]

    @torch.no_grad()
    def _follow(self) -> None:
        # A young average would remember the start, so the decay grows with the iterations.
        decay = min(self.config.average, (1 + self.iteration) / (10 + self.iteration))
        pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
        for average, current in pairs:
            average.lerp_(current, 1 - decay)

    def save(self) -> None:
        """Write the whole state; an earlier one is replaced in one move."""
        if self.rank != 0:
            return
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": v for k, v in moments.items()}
        tensors = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
        put(self.state_path, tensors, {"iteration": str(self.iteration)})

    def resume(self) -> bool:
        """Take up the state of an earlier run, if there is one; False where there is none.

        Raises CheckpointError where it cannot be read.
        """
        tensors: dict[str, Tensor] = {}
        try:
            if there := self.state_path.exists():
                with safe_open(self.state_path, "pt") as file:
                    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                    self.iteration = int(file.metadata()["iteration"])
        except (SafetensorError, LookupError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"training goes on from a state that can be read; got {self.state_path}: {error}. "
                "Train in another folder."
            ) from error
        if self.rank == 0:
            self._record.forget_after(self.iteration)
        if not there:
            return False
        self.model.load_state_dict(_under(tensors, "model."))
        self.average.load_state_dict(_under(tensors, "average."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, "optimiser.").items():
            index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        return True


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


__all__ = ["Batch", "Diverged", "TrainConfig", "Trainer"]
