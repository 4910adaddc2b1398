"""Runtimes for the folded graph: ONNX Runtime in float32, OpenVINO in bfloat16."""

from collections import deque
from collections.abc import Callable
from functools import cache, lru_cache, partial
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.attention import Watch
from model.engine import Chain, Run
from model.folded import Shape, build, build_features, build_products, names
from model.reconstructor import Attention, R2HDiff

SHAPES = 4
"""Of inputs for which a graph is kept: tiles have one, windows of small scenes others."""
_OPENING = Lock()
Build = Callable[[Shape], bytes]


def onnxruntime(
    model: R2HDiff, sensitivities: Tensor, steps: int, attention: Attention | None = None
) -> Run:
    """The graph in float32."""
    session = _sessions(lambda shape: build(model, sensitivities, steps, shape, attention))

    def run(rgb: Tensor) -> Chain:
        ready = session(_shape(rgb))

        def chain(noise: Tensor) -> Tensor:
            (cube,) = ready.run(None, {"rgb": rgb.numpy(), "noise": noise.numpy()})
            return torch.from_numpy(cube)

        return chain

    return run


def watched(model: R2HDiff, sensitivities: Tensor, steps: int) -> Watch:
    """`model.attention.watched` by ONNX Runtime."""
    # They stay for the next scene while this one's tiles run, so their memory is given back.
    own, given = (
        _sessions(partial(build_products, model, sensitivities, steps, given=how), keep=False)
        for how in (False, True)
    )

    def watch(rgb: Tensor, noise: Tensor, attention: Attention | None) -> Tensor:
        inputs = {"rgb": rgb.numpy(), "noise": noise.numpy()}
        for row, blocks in zip(names(model, steps), attention or (), strict=False):
            inputs |= {name: of.numpy() for name, of in zip(row, blocks, strict=True)}
        session = own if attention is None else given
        (products,) = session(_shape(rgb)).run(None, inputs)
        return torch.from_numpy(products)

    return watch


def _shape(rgb: Tensor) -> Shape:
    n, _, height, width = rgb.shape
    return n, height, width


def _sessions(graph: Build, keep: bool = True) -> Callable[[Shape], Any]:
    """A session of a graph for each of the last `SHAPES` shapes; threads may share them.

    They ``keep`` the memory of a tile for the next one, or not.
    """
    import onnxruntime  # noqa: PLC0415 (may be absent)

    options = onnxruntime.SessionOptions()
    # One thread a tile and tiles side by side: faster than many threads on one, and the last bit
    # then depends on no number of threads.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = keep
    building = Lock()

    @lru_cache(SHAPES)
    def session(shape: Shape) -> onnxruntime.InferenceSession:
        providers = ["CPUExecutionProvider"]
        return onnxruntime.InferenceSession(graph(shape), options, providers=providers)

    def of(shape: Shape) -> Any:
        with building:
            return session(shape)

    return of


def openvino_bfloat16(
    model: R2HDiff, sensitivities: Tensor, steps: int, attention: Attention | None = None
) -> Run:
    """The graph in bfloat16 up to its last layer, which is float32.

    Raises ValueError where the processor does not multiply bfloat16.
    """
    with _OPENING:
        core = _core()
    if "BF16" not in (found := core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")):
        raise ValueError(f"openvino-bfloat16 needs a processor that has BF16; got {found}.")
    # A tile on one thread, wherever the system puts it: what is pinned stays on the first cores,
    # also of other processes.
    how = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    how |= {"ENABLE_CPU_PINNING": False}
    building = Lock()

    @cache
    def graph(shape: Shape) -> tuple[Any, deque[Any], Tensor, Tensor]:
        serialised, last = build_features(model, sensitivities, steps, shape, attention)
        network = core.read_model(serialised)
        return network, deque(), last.weight.float(), last.bias.float()[:, None]

    def run(rgb: Tensor) -> Chain:
        with building:
            network, idle, weight, bias = graph(_shape(rgb))

        def chain(noise: Tensor) -> Tensor:
            # As many are compiled as are at work at once: each holds the memory of a tile.
            try:
                request = idle.pop()
            except IndexError:
                request = core.compile_model(network, "CPU", how).create_infer_request()
            answer = request.infer({"rgb": rgb.numpy(), "noise": noise.numpy()})
            seen = torch.cat([rgb, torch.from_numpy(answer[0])], dim=1).flatten(2)
            idle.append(request)
            cube: Tensor = weight @ seen
            return cube.add_(bias).reshape(len(rgb), -1, *rgb.shape[2:])

        return chain

    return run


@cache
def _core() -> Any:
    """OpenVINO's, one for all and never closed; two threads must not ask for it at once.

    Each gives its thread a stack for signals and takes it away when it is closed: of two, the
    second puts back the first one's, which is gone, and the next signal ends the process.
    """
    import openvino  # noqa: PLC0415 (may be absent)
    from openvino import opset15  # noqa: PLC0415

    core = openvino.Core()
    # A process gets its first answer alone: of two threads at its first answers one may wait for
    # the other with Python's lock in hand, and the other for that lock.
    value = opset15.parameter([1], np.float32)
    one = core.compile_model(openvino.Model([opset15.relu(value)], [value]), "CPU")
    one.create_infer_request().infer([np.zeros(1, np.float32)])[0]
    return core
