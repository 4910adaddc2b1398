"""What carries out the model's arithmetic: torch, or a runtime on a graph; also in bfloat16."""

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.attention import View, Watch, hatas, pooled, watched, weighed
from model.lift import wiener_lift
from model.precision import compute_in_bfloat16
from model.reconstructor import Attention, R2HDiff

Engine = Literal["torch", "torch-bfloat16", "onnxruntime", "openvino-bfloat16"]
GRAPHS: dict[Engine, tuple[str, str]] = {
    "onnxruntime": ("onnx", "onnxruntime"),
    "openvino-bfloat16": ("onnx", "openvino"),
}
"""Engines that carry out the folded graph, and the packages they need."""
Chain = Callable[[Tensor], Tensor]
"""Start noise (N, bands, T, T) to cube (N, bands, T, T), as often as is asked."""
Run = Callable[[Tensor], Chain]
"""rgb (N, 3, T, T) in the model's unit to the chain that it guides."""


def best_engine(model: R2HDiff) -> Engine:
    """The fastest in float32 that is installed and knows this model, or bfloat16 on a GPU with it.

    So it is the same on every processor (docs/benchmarks.md).
    """
    if model.prior.device.type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
        return "torch-bfloat16" if has else "torch"
    return "torch" if _reason_against(model, "onnxruntime") else "onnxruntime"


def bind(
    model: R2HDiff,
    sensitivities: Tensor,
    steps: int,
    engine: Engine,
    attention: Attention | None = None,
) -> Run:
    """The model for one camera, sensitivities (3, bands), as a function; threads may share it.

    ``attention`` is a scene's; with none each tile has its own. Raises ValueError for an engine
    that is absent or does not know the model.
    """
    if engine not in get_args(Engine):
        raise ValueError(f"an engine is one of {', '.join(get_args(Engine))}; got {engine}.")
    if engine not in GRAPHS:
        if engine == "torch-bfloat16":
            model = compute_in_bfloat16(copy.deepcopy(model))
        camera = sensitivities.float()[None].to(model.prior.device)
        inverse = wiener_lift(camera, model.prior)
        return lambda rgb: model.guided(rgb, camera, steps, attention, inverse)
    if reason := _reason_against(model, engine):
        raise ValueError(f"{engine} cannot run this model: {reason}. Use torch.")
    from model import runtimes  # noqa: PLC0415 (needs onnx)

    of = runtimes.onnxruntime if engine == "onnxruntime" else runtimes.openvino_bfloat16
    return of(model, sensitivities.cpu(), steps, attention)


def watch(model: R2HDiff, sensitivities: Tensor, steps: int, engine: Engine) -> Watch:
    """The products of the model for one camera, in float32: by a graph where the engine is one."""
    if engine not in GRAPHS or _reason_against(model, "onnxruntime"):
        return watched(model, sensitivities, steps)
    from model import runtimes  # noqa: PLC0415 (needs onnx)

    return runtimes.watched(model, sensitivities.cpu(), steps)


def _reason_against(model: R2HDiff, engine: Engine) -> str | None:
    if model.prior.device.type != "cpu":
        return "it runs on the CPU"
    if missing := [name for name in GRAPHS[engine] if find_spec(name) is None]:
        return f"{missing[0]} is not installed"
    from model.folded import supported  # noqa: PLC0415 (needs onnx)

    return None if supported(model) else f"the graph is of a whole network, not of {model.config}"


WHITE = 0.01
"""How far a camera's row may sum from 1: white is 1."""


def _refuse_no_camera(seen: Tensor, bands: int) -> None:
    if seen.shape != (3, bands) or not ((seen.sum(dim=1) - 1).abs() < WHITE).all():
        found = f"{tuple(seen.shape)}, sums {seen.sum(dim=-1).flatten().tolist()[:3]}"
        raise ValueError(
            f"sensitivities must be (3, {bands}), at the model's wavelengths, their rows summing "
            f"to 1; got {found}. Take pipeline.camera.resampled, and divide each row by its sum."
        )


def _refuse_no_scale(scale: float) -> None:
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError(f"a scene's scale must be finite and above 0; got {scale}.")


FEW = 8
"""Windows of a scene that are looked at first, at most."""
BRIGHTEST = 4.0
"""Times the scale, the most that the network is shown: training's scenes but one end at 4.3."""


class Reconstructor:
    """R2H-Diff bound to a camera and a scene's scale: ``(rgb, noise) -> cube``, tile by tile.

    ``sensitivities`` are (3, bands), rows that sum to 1. The RGB is divided by ``scale`` before the
    network and the cube multiplied by it after, so the result follows the exposure where the scale
    does: four times the scene's mean, as in training (docs/decisions/0003). The chain starts from
    zero, the mean of all noise, which comes nearer to the truth than any one start
    (docs/decisions/0011), or from each of ``noises`` fields of noise: then the answer is the mean,
    and from two on the standard deviation beside it. Threads may share it.

    Each tile attends to itself, as in training; `attending` makes one of the tiles of a scene.
    """

    def __init__(
        self,
        model: R2HDiff,
        sensitivities: Tensor | NDArray[np.floating],
        scale: float = 1.0,
        steps: int = 5,
        engine: Engine = "torch",
        noises: int = 0,
    ) -> None:
        # All raise ValueError here rather than at the first tile.
        model.schedule.visited(steps)
        seen = torch.as_tensor(sensitivities, dtype=torch.float32)
        _refuse_no_camera(seen, len(model.wavelengths))
        _refuse_no_scale(scale)
        wiener_lift(seen.to(model.prior), model.prior)
        self._of = (model.eval(), seen, steps, engine)
        self._run, self._watch = bind(*self._of), watch(*self._of)
        self.scale = scale
        self.noises, self.spread = noises, noises > 1
        self.wavelengths = tuple(model.wavelengths.tolist())

    def at(self, scale: float) -> "Reconstructor":
        """The same for a scene of another scale; what was compiled is shared."""
        _refuse_no_scale(scale)
        other = copy.copy(self)
        other.scale = scale
        return other

    @torch.inference_mode()
    def attending(
        self, views: Sequence[View], threads: int = 1, go_on: Callable[[], None] = lambda: None
    ) -> "Reconstructor":
        """The same for the scene that ``views`` are windows of: its tiles attend alike.

        As many views are looked at side by side as there are ``threads``, each on one of torch's.
        ``go_on`` is called before each, and may raise what ends it.
        """
        model, _, steps, _ = self._of
        if not views or not hatas(model):
            return self
        attention: Attention | None = None
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            # First some by their own attention: they will do to see all by what follows of them.
            for seen in (views[:: -(-len(views) // FEW)], views):
                look = partial(self._look, attention, go_on)
                attention = pooled(model, steps, weighed(seen, list(pool.map(look, seen))))
        other = copy.copy(self)
        other._run = bind(*self._of, attention)
        if model.prior.is_cuda:
            # Tiles have streams of their own, which wait for nothing that is still under way here.
            torch.cuda.synchronize(model.prior.device)
        return other

    @torch.inference_mode()
    def _look(self, attention: Attention | None, go_on: Callable[[], None], view: View) -> Tensor:
        go_on()
        bands, (_, *sides) = len(self.wavelengths), view.rgb.shape
        noise = view.rgb.new_zeros(bands, *sides) if view.noise is None else view.noise
        return self._watch(_shown(view.rgb[None] / self.scale)[0], noise[None], attention)

    @torch.inference_mode()
    def __call__(self, rgb: Tensor, noise: Tensor | None = None) -> Tensor:
        """Reflectance (N, bands, T, T) of linear rgb (N, 3, T, T), with spread (N, 2 bands, T, T).

        White is 1, T a multiple of the network's reduction. What is answered is not clipped at 0.
        ``noise`` (N, noises * bands, T, T) is what the chains start from, sample after sample;
        where ``noises`` is 0 they start from zero, and it is not looked at. Raises ValueError for
        another number of fields, or none.
        """
        seen, dimmed = _shown(rgb / self.scale)
        chain, bands, back = self._run(seen), len(self.wavelengths), self.scale * dimmed
        if not self.noises:
            return chain(rgb.new_zeros(len(rgb), bands, *rgb.shape[2:])).mul_(back)
        if noise is None or noise.shape[1] != self.noises * bands:
            found = "none" if noise is None else f"{noise.shape[1]} channels"
            wanted = f"{self.noises} fields of noise, each of {bands} channels, are needed"
            raise ValueError(f"{wanted}; got {found}. Draw them.")
        fields = (field.contiguous() for field in noise.chunk(self.noises, dim=1))
        return moments(map(chain, fields)).mul_(back)


def _shown(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """What the network sees of rgb (N, 3, H, W) over the scale, and by how much it is dimmed.

    A pixel brighter than BRIGHTEST is shown as bright as that, in its colour, and what is answered
    for it is brightened again: it renders to its RGB all the same. For brighter ones the answer is
    bounded and no more: it turns with the last bit, 60 pixels away (docs/decisions/0035).
    """
    dimmed = (rgb.amax(dim=1, keepdim=True) / BRIGHTEST).clamp_(min=1)
    return rgb / dimmed, dimmed


def moments(samples: Iterable[Tensor]) -> Tensor:
    """Mean (N, C, H, W) of samples, and where they are several their standard deviation after it.

    Streamed (Welford 1962): the memory is that of two samples, however many there are.
    """
    of = iter(samples)
    count, mean = 1, next(of)
    squares = torch.zeros_like(mean)
    for count, value in enumerate(of, 2):
        away = value - mean
        mean = torch.add(mean, away, alpha=1 / count)
        squares.addcmul_(away, value - mean)
    return mean if count == 1 else torch.cat([mean, (squares / (count - 1)).sqrt_()], dim=1)
