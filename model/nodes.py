"""The network's blocks as nodes of a graph, for either order of a tensor in memory.

Scales of residual branches, time shifts and GSRM's identity are part of the weights beside them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from model.blocks import FeedForward, Gsrm, Hata
from model.graph import Graph, Linear

Guided = tuple[str, str]
"""Names of the guide's share of a GSRM's gate and shift."""
Mix = Callable[[Graph, Hata, list[str], tuple[int, ...]], str]
"""How channels are mixed: `by_channel` or `by_pixel`."""


def _split(graph: Graph, x: str, point: nn.Conv2d, depth: nn.Conv2d, parts: int) -> list[str]:
    """1x1, then depthwise 3x3, in as many pieces as their answer is split into."""
    pieces = []
    for k in range(parts):
        (w1, b1), (w3, b3) = (
            (conv.weight.chunk(parts)[k], None if conv.bias is None else conv.bias.chunk(parts)[k])
            for conv in (point, depth)
        )
        pieces.append(graph.conv(graph.conv(x, w1, b1), w3, b3, groups=len(w3)))
    return pieces


def _scaled(graph: Graph, x: str, conv: nn.Conv2d, scale: Tensor) -> str:
    of, scale = Linear.of(conv), scale.double().cpu().reshape(-1)
    return graph.linear(x, Linear(scale[:, None] * of.weight, scale * of.bias))


def feed_forward(graph: Graph, feed: FeedForward, x: str, scale: Tensor) -> str:
    """x plus the scaled feed-forward."""
    halves = graph.add("Mul", *_split(graph, x, feed.point, feed.depth, 2))
    return graph.add("Add", _scaled(graph, halves, feed.project, scale), x)


def attention(
    graph: Graph, hata: Hata, x: str, scale: Tensor, shape: tuple[int, ...], mix: Mix
) -> str:
    """x plus the scaled attention; ``shape`` is that of x."""
    q, k, v = _split(graph, x, hata.point, hata.depth, 3)
    y = mix(graph, hata, [q, k, v], shape)
    place = graph.conv(v, hata.position.weight, groups=shape[1])
    return graph.add("Add", _scaled(graph, graph.add("Add", place, y), hata.project, scale), x)


def _gsrm_parts(gsrm: Gsrm) -> tuple[Linear, Linear]:
    """The mix as maps of (features and guide) to gate and to shift; GSRM's scale in the latter."""
    mix, scale = Linear.of(gsrm.mix), gsrm.scale.double().cpu().reshape(-1)
    gate, shift = (
        Linear(*half) for half in zip(mix.weight.chunk(2), mix.bias.chunk(2), strict=True)
    )
    return gate, Linear(scale[:, None] * shift.weight, scale * shift.bias)


def gsrm_guide(graph: Graph, gsrm: Gsrm, guide: str) -> Guided:
    """The guide's share of a GSRM's gate and shift: the same at each step."""
    width = gsrm.scale.shape[1]
    gate, shift = (
        graph.linear(guide, Linear(of.weight[:, width:], of.bias)) for of in _gsrm_parts(gsrm)
    )
    return gate, shift


def gsrm(graph: Graph, gsrm: Gsrm, x: str, guided: Guided, time: Tensor) -> str:
    """``x + scale * (x * tanh(gate) + shift)`` at one time embedding (1, time_width)."""
    scale, width = gsrm.scale.double().cpu().reshape(-1), gsrm.scale.shape[1]
    gate_time, shift_time = gsrm.time(time)[0].double().cpu().chunk(2)
    gate, shift = _gsrm_parts(gsrm)
    gate = Linear(gate.weight[:, :width], gate_time)
    kept = Linear(shift.weight[:, :width] + torch.eye(width), scale * shift_time)
    open_ = graph.add("Tanh", graph.add("Add", graph.linear(x, gate), guided[0]))
    gated = graph.per_channel(graph.add("Mul", x, open_), scale)
    return graph.add("Add", gated, graph.add("Add", graph.linear(x, kept), guided[1]))


def by_channel(graph: Graph, hata: Hata, parts: list[str], shape: tuple[int, ...]) -> str:
    """What attention answers of q, k and v (N, C, H, W), where channel after channel is kept."""
    n, c, h, w = shape
    by_head = graph.constant([n, hata.heads, c // hata.heads, h * w])
    rows, cols, values = (graph.add("Reshape", part, by_head) for part in parts)
    last = graph.constant([3])
    # Not ReduceL2: ONNX Runtime spent a tenth of the network's time on it.
    squares = [graph.add("Mul", part, part) for part in (rows, cols)]
    norms = [graph.add("Sqrt", graph.add("ReduceSum", of, last, keepdims=1)) for of in squares]
    turned = [graph.add("Transpose", part, perm=[0, 1, 3, 2]) for part in (cols, norms[1])]
    alike = _cosines(graph, graph.add("MatMul", rows, turned[0]), norms[0], turned[1])
    hot = graph.add("Mul", alike, graph.constant(hata.temperature.cpu()))
    mixed = graph.add("MatMul", graph.add("Softmax", hot, axis=3), values)
    return graph.add("Reshape", mixed, graph.constant(list(shape)))


def by_pixel(graph: Graph, hata: Hata, parts: list[str], shape: tuple[int, ...]) -> str:
    """The same where pixel after pixel is kept, so that no tensor is turned in memory.

    Heads are not apart there: all channels are compared, and those of other heads get no weight.
    """
    n, c, h, w = shape
    flat = graph.constant([n, h * w, c])
    pixels = [graph.add("Transpose", part, perm=[0, 2, 3, 1]) for part in parts]
    rows, cols, values = (graph.add("Reshape", part, flat) for part in pixels)
    first = graph.constant([1])
    norms = [graph.add("ReduceL2", part, first, keepdims=1) for part in (rows, cols)]
    turned = [graph.add("Transpose", part, perm=[0, 2, 1]) for part in (rows, norms[0])]
    alike = _cosines(graph, graph.add("MatMul", turned[0], cols), turned[1], norms[1])
    head = torch.arange(c) // (c // hata.heads)
    own = head[:, None] == head
    heat = hata.temperature.cpu().reshape(-1)[head][:, None] * own
    others = torch.where(own, 0.0, -1e4)
    hot = graph.add("Mul", alike, graph.constant(heat[None]))
    hot = graph.add("Add", hot, graph.constant(others[None]))
    weights = graph.add("Transpose", graph.add("Softmax", hot, axis=2), perm=[0, 2, 1])
    mixed = graph.add("Reshape", graph.add("MatMul", values, weights), graph.constant([n, h, w, c]))
    return graph.add("Transpose", mixed, perm=[0, 3, 1, 2])


def _cosines(graph: Graph, products: str, rows: str, cols: str) -> str:
    sizes = graph.add("Mul", rows, cols)
    # The square of the floor that F.normalize puts under each norm.
    sizes = graph.add("Max", sizes, graph.constant(torch.tensor(1e-24)))
    return graph.add("Div", products, sizes)
