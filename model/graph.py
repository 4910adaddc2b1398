"""A builder of ONNX graphs, as small as the model's needs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

OPSET, IR = 18, 10


class Linear(NamedTuple):
    """A map of channels: weight (out, in) and bias (out,), float64."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, conv: nn.Conv2d) -> "Linear":
        """That of a 1x1 convolution with a bias."""
        assert conv.bias is not None
        return cls(conv.weight[:, :, 0, 0].double().cpu(), conv.bias.double().cpu())

    def after(self, other: "Linear") -> "Linear":
        """The map of what the other one answers."""
        return Linear(self.weight @ other.weight, self.weight @ other.bias + self.bias)


class Graph:
    """Nodes and constants under names of their own."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[bytes, onnx.TensorProto] = {}
        self.watched: list[str] | None = None
        """Where products of attention are watched, their names."""

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Append a node; returns the name of its answer."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Tensor | list[int]) -> str:
        """The name of a float32 tensor or of a shape; equal ones are kept once."""
        array = value.detach().float().numpy() if isinstance(value, Tensor) else np.array(value)
        key = repr((array.shape, array.dtype)).encode() + array.tobytes()
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(array, f"c{len(self.constants)}")
        return str(self.constants[key].name)

    def conv(
        self,
        x: str,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        stride: int = 1,
        groups: int = 1,
    ) -> str:
        """A convolution; an odd kernel keeps the size."""
        size = weight.shape[-1]
        inputs = [x, self.constant(weight)] + ([] if bias is None else [self.constant(bias)])
        pads = [size // 2 if size % 2 else 0] * 4
        return self.add("Conv", *inputs, strides=[stride] * 2, pads=pads, group=groups)

    def linear(self, x: str, of: Linear) -> str:
        """A 1x1 convolution."""
        return self.conv(x, of.weight[:, :, None, None], of.bias)

    def per_channel(self, x: str, scale: Tensor) -> str:
        """Each channel times its number."""
        # A convolution: a product with a constant would leave the runtime's memory layout.
        return self.conv(x, scale.reshape(-1, 1, 1, 1), groups=scale.numel())

    def bounded(self, x: str, width: int, limit: float) -> str:
        """`model.blocks.bounded` of x, which has ``width`` channels."""
        within = self.add("Tanh", self.per_channel(x, torch.full((width,), 1 / limit)))
        return self.per_channel(within, torch.full((width,), limit))

    def cut(self, x: str, limit: float) -> str:
        """x, but no value beyond the limit on either side."""
        return self.add("Clip", x, *(self.constant(torch.tensor(end)) for end in (-limit, limit)))

    def serialised(self, inputs: Mapping[str, list[int]], output: tuple[str, list[Any]]) -> bytes:
        """The whole as ONNX, checked; names and shapes of what goes in and what comes out."""

        def value(name: str, shape: list[Any]) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

        ins = [value(name, shape) for name, shape in inputs.items()]
        constants = list(self.constants.values())
        whole = helper.make_graph(self.nodes, "r2h-diff", ins, [value(*output)], constants)
        opset = [helper.make_opsetid("", OPSET)]
        proto = helper.make_model(whole, opset_imports=opset, ir_version=IR)
        onnx.checker.check_model(proto)
        return bytes(proto.SerializeToString())
