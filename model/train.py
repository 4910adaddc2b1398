"""The training loop: resumes bit for bit, keeps an average of the weights, stops when it breaks."""

import csv
import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.loss import loss
from model.reconstructor import R2HDiff


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
    average: float = 0.999
    """Decay of the exponential moving average of the weights, which is what ships."""
    save_every: int = 250
    seed: int = 0

    def rate(self, iteration: int) -> float:
        """Learning rate at an iteration."""
        done = min(1.0, iteration / self.iterations)
        return self.learning_rate * min(1.0, (iteration + 1) / self.warm_up) * _cosine(done)


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))


class Trainer:
    """Model, averaged model, optimiser and the number of iterations done.

    Everything random in an iteration follows from (seed, iteration), so the state on disk is the
    weights, their average, the optimiser's moments and that number.
    """

    def __init__(self, model: R2HDiff, config: TrainConfig, folder: Path) -> None:
        self.model, self.config, self.folder = model.train(), config, folder
        self.average = deepcopy(model).requires_grad_(False).eval()
        self.optimiser = torch.optim.AdamW(model.parameters(), weight_decay=config.weight_decay)
        self.iteration = 0

    @property
    def state_path(self) -> Path:
        """Where the state is kept between runs."""
        return self.folder / "state.safetensors"

    def run(
        self, batches: Callable[[int], Iterator[Batch]], report: Callable[[int, float], None]
    ) -> R2HDiff:
        """Train to the last iteration; ``batches(i)`` yields them from iteration i on.

        Raises FloatingPointError, with the state of the last save kept, when the loss or
        its gradient is not finite.
        """
        for batch in batches(self.iteration):
            if self.iteration >= self.config.iterations:
                break
            value = self.step(batch)
            self._log(value)
            report(self.iteration, value)
            if self.iteration % self.config.save_every == 0:
                self.save()
        self.save()
        return self.average

    def step(self, batch: Batch) -> float:
        """One update; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.rate(self.iteration)
        value = self._loss(batch)
        self.optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        # A finite loss can have a gradient that is not, and the next save would keep the damage.
        if not torch.isfinite(value + norm):
            raise FloatingPointError(
                f"loss and gradient must be finite; got {value.item()} and {norm.item()} at "
                f"iteration {self.iteration}. Lower learning_rate and resume from the last save."
            )
        self.optimiser.step()
        self.iteration += 1
        self._follow()
        return value.item()

    def _loss(self, batch: Batch) -> Tensor:
        random = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.iteration)
        steps = torch.randint(len(self.model.schedule), (len(batch.rgb),), generator=random)
        noise = torch.randn(batch.cube.shape, generator=random)
        condition = self.model.condition(batch.rgb, batch.sensitivities)
        clean = self.model.to_state(batch.cube, condition)
        state = self.model.schedule.diffuse(clean, noise, steps)
        estimate = self.model.denoise(state, condition, steps)
        return loss(estimate, clean, self.config.gradient_weight)

    @torch.no_grad()
    def _follow(self) -> None:
        # A young average would remember the start, so the decay grows with the iterations.
        decay = min(self.config.average, (1 + self.iteration) / (10 + self.iteration))
        pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
        for average, current in pairs:
            average.lerp_(current, 1 - decay)

    def _log(self, value: float) -> None:
        with (self.folder / "loss.csv").open("a", newline="") as file:
            csv.writer(file).writerow([self.iteration, f"{value:.6f}"])

    def _forget_after_the_save(self) -> None:
        log = self.folder / "loss.csv"
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        log.write_text("".join(lines[: self.iteration]))

    def save(self) -> None:
        """Write the whole state; an earlier one is replaced in one move."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": v for k, v in moments.items()}
        partial = self.state_path.with_suffix(".partial")
        tensors = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
        save_file(tensors, partial, {"iteration": str(self.iteration)})
        partial.replace(self.state_path)

    def resume(self) -> bool:
        """Take up the state of an earlier run, if there is one; False where there is none."""
        if not self.state_path.exists():
            return False
        with safe_open(self.state_path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self.iteration = int(file.metadata()["iteration"])
        self._forget_after_the_save()
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
