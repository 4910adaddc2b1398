"""Jobs on networks alone, under one engine each."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

import model
from benchmarks.case import Case, Skip, Steps
from benchmarks.networks import STEPS, WAVELENGTHS, reconstructor
from benchmarks.ours import inputs
from benchmarks.scenes import camera, photograph
from benchmarks.toolbox import mst_plus_plus
from model.lift import wiener_lift

Call = Callable[[], Tensor]
Inputs = tuple[Tensor, ...]
BF16 = ("avx512_bf16", "amx_bf16")


class Bound(nn.Module):
    """R2H-Diff bound to a camera, in plain torch."""

    def __init__(self) -> None:
        super().__init__()
        self.network = model.load()
        self.sensitivities = torch.from_numpy(camera(WAVELENGTHS).sensitivities)[None]

    def forward(self, rgb: Tensor, noise: Tensor) -> Tensor:
        """Cube (N, C, T, T)."""
        return self.network.forward(rgb, self.sensitivities, noise, STEPS)

    @contextmanager
    def exportable(self) -> Iterator[None]:
        """The camera's lift as a constant: no graph format has its matrix inverse."""
        lift = wiener_lift(self.sensitivities, self.network.prior)
        with patch("model.reconstructor.wiener_lift", return_value=lift):
            yield


def alone(case: Case, _folder: Path) -> Steps:
    """A network's calls under an engine; also its largest difference from eager fp32."""
    given: Inputs = inputs(case, photograph(case.tile))
    network: nn.Module = Bound().eval()
    if case.network == "mst":
        network, given = mst_plus_plus(case), given[:1]
    with torch.inference_mode():
        plain = network(*given)
    call = _call(case, network, given)
    difference = float((call().float() - plain).abs().max())
    pixels = case.batch * case.tile**2
    calls = max(2 * case.workers, round(case.megapixels * 1e6 / pixels))
    # The project's engine takes a tile a core, the others a tile on all cores.
    with ThreadPoolExecutor(1 if case.engine in ENGINES else case.workers) as pool:
        # Some build what each thread needs when it first calls.
        list(pool.map(lambda _: call(), range(2 * case.workers)))
        yield
        list(pool.map(lambda _: call(), range(calls)))
        yield
    return {"megapixels": calls * pixels / 1e6, "difference": difference}


def _call(case: Case, network: nn.Module, given: Inputs) -> Call:
    if case.engine in ENGINES:
        return ENGINES[case.engine](network, given)
    # The project's own: empty for its default.
    bound = reconstructor(replace(case, bare=True), photograph(case.tile))
    assert isinstance(bound, model.Reconstructor)
    # All attend to the one tile that all are shown, so that it answers what the others do.
    rgb, noise = (of[0] for of in given)
    answer = bound.attending([model.View(rgb, noise, 1.0)])
    return lambda: answer(*given)


def _eager(network: Callable[..., Any], given: Inputs) -> Call:
    def call() -> Tensor:
        with torch.inference_mode():
            answer: Tensor = network(*given)
            return answer

    return call


def _channels_last(network: Any, given: Inputs) -> Call:
    kind = torch.channels_last
    return _eager(network.to(memory_format=kind), tuple(x.to(memory_format=kind) for x in given))


def _bf16(network: nn.Module, given: Inputs) -> Call:
    if not any(flag in Path("/proc/cpuinfo").read_text() for flag in BF16):
        raise Skip("this CPU computes no bf16: neither AVX512-BF16 nor AMX")
    plain = _channels_last(network, given)

    def call() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return plain()

    return call


def _compiled(network: nn.Module, given: Inputs) -> Call:
    return _eager(torch.compile(network, dynamic=False), given)


def _openvino(network: nn.Module, given: Inputs) -> Call:
    import openvino  # noqa: PLC0415

    with torch.no_grad(), _exportable(network):
        trace: Any = torch.jit.trace
        traced = trace(network, given, check_trace=False)
    shapes = [tuple(x.shape) for x in given]
    graph = openvino.convert_model(traced, example_input=given, input=shapes)
    options = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
    options["INFERENCE_NUM_THREADS"] = torch.get_num_threads()
    compiled = openvino.Core().compile_model(graph, "CPU", options)
    values = tuple(x.numpy() for x in given)
    return lambda: torch.from_numpy(np.asarray(compiled(values)[0]))


def _onnxruntime(network: nn.Module, given: Inputs) -> Call:
    import onnxruntime  # noqa: PLC0415

    names = [f"input{i}" for i in range(len(given))]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    graph = _onnx(network, given, names)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    values = {name: x.numpy() for name, x in zip(names, given, strict=True)}
    return lambda: torch.from_numpy(session.run(None, values)[0])


def _onnx(network: nn.Module, given: Inputs, names: list[str]) -> bytes:
    options: dict[str, Any] = {"opset_version": 18, "dynamo": False, "input_names": names}
    with TemporaryDirectory() as folder, torch.no_grad(), _exportable(network):
        file = Path(folder) / "network.onnx"
        torch.onnx.export(network, given, file, **options)
        return file.read_bytes()


def _exportable(network: nn.Module) -> Any:
    return network.exportable() if isinstance(network, Bound) else nullcontext()


ENGINES: dict[str, Callable[[nn.Module, Inputs], Call]] = {
    "eager": _eager,
    "channels_last": _channels_last,
    "bf16": _bf16,
    "compile": _compiled,
    "openvino": _openvino,
    "onnxruntime-plain": _onnxruntime,
}
