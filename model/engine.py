"""What carries out the model's arithmetic: torch as written, or ONNX Runtime on a folded graph."""

import copy
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from threading import Lock
from typing import Literal, cast

import torch
from torch import Tensor

from model.lift import wiener_lift
from model.reconstructor import R2HDiff

Engine = Literal["torch", "onnxruntime"]
Start = Literal["zero", "noise"]
Run = Callable[[Tensor, Tensor], Tensor]
"""rgb (N, 3, T, T) in the model's unit and noise (N, bands, T, T) to cube (N, bands, T, T)."""


def best_engine(model: R2HDiff) -> Engine:
    """The fastest that is installed and knows this model where it is (docs/benchmarks.md)."""
    return "torch" if _reason_against(model) else "onnxruntime"


def bind(model: R2HDiff, sensitivities: Tensor, steps: int, engine: Engine) -> Run:
    """The model for one camera, sensitivities (3, bands), as a function; threads may share it.

    Raises ValueError for an engine that is absent or does not know the model.
    """
    if engine == "torch":
        camera = sensitivities.float()[None].to(model.prior.device)
        return lambda rgb, noise: cast(Tensor, model(rgb, camera, noise, steps))
    if reason := _reason_against(model):
        raise ValueError(f"onnxruntime cannot run this model: {reason}. Use torch.")
    return _onnxruntime(model, sensitivities.cpu(), steps)


def _reason_against(model: R2HDiff) -> str | None:
    if model.prior.device.type != "cpu":
        return "it runs on the CPU"
    if missing := [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]:
        return f"{missing[0]} is not installed"
    from model.folded import supported  # noqa: PLC0415 (needs onnx)

    return None if supported(model) else f"the graph is of a whole network, not of {model.config}"


def _onnxruntime(model: R2HDiff, sensitivities: Tensor, steps: int) -> Run:
    import onnxruntime  # noqa: PLC0415 (may be absent)

    from model.folded import build  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    # One thread a tile and tiles side by side: faster than many threads on one, and the last bit
    # then depends on no number of threads.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    building = Lock()

    @cache
    def session(shape: tuple[int, int]) -> onnxruntime.InferenceSession:
        graph = build(model, sensitivities, steps, shape)
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(rgb: Tensor, noise: Tensor) -> Tensor:
        with building:
            ready = session((rgb.shape[0], rgb.shape[2]))
        (cube,) = ready.run(None, {"rgb": rgb.numpy(), "noise": noise.numpy()})
        return torch.from_numpy(cube)

    return run


class Reconstructor:
    """R2H-Diff bound to a camera and a scene's scale: ``(rgb, noise) -> cube``, tile by tile.

    The RGB is divided by ``scale`` before the network and the cube multiplied by it after, so the
    result follows the exposure. The chain starts from zero, the mean of all noise, which comes
    nearer to the truth than any one start (docs/decisions/0011), or from noise. Threads may share
    it.
    """

    spread = False

    def __init__(
        self,
        model: R2HDiff,
        sensitivities: Tensor,
        scale: float = 1.0,
        steps: int = 5,
        engine: Engine = "torch",
        start: Start = "zero",
    ) -> None:
        # All raise ValueError here rather than at the first tile.
        model.schedule.visited(steps)
        wiener_lift(sensitivities.to(model.prior), model.prior)
        self._run = bind(model.eval(), sensitivities, steps, engine)
        self._scale = scale
        self.noises = int(start == "noise")
        self.wavelengths = tuple(model.wavelengths.tolist())

    def at(self, scale: float) -> "Reconstructor":
        """The same for a scene of another scale; what was compiled is shared."""
        other = copy.copy(self)
        other._scale = scale
        return other

    @torch.inference_mode()
    def __call__(self, rgb: Tensor, noise: Tensor | None = None) -> Tensor:
        """Reflectance (N, bands, T, T) of linear rgb (N, 3, T, T).

        ``noise`` (N, bands, T, T) is what the chain starts from, where it starts from noise.
        """
        if noise is None or not self.noises:
            noise = rgb.new_zeros(len(rgb), len(self.wavelengths), *rgb.shape[2:])
        return self._run(rgb / self._scale, noise).mul_(self._scale)
