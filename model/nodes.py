"""The network's blocks as nodes of a graph.

Scales of residual branches, time shifts and GSRM's identity are part of the weights beside them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.blocks import FeedForward, Gsrm, Hata
from model.graph import Graph, Linear

Guided = tuple[str, str]
"""Names of the guide's share of a GSRM's gate and shift."""


def _split(
    graph: Graph, x: str, point: nn.Conv2d, depth: nn.Conv2d, parts: int, wanted: Sequence[int]
) -> list[str]:
    """1x1, then depthwise 3x3: the pieces that are ``wanted`` of those their answer is split in."""
    pieces = []
    for k in wanted:
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
    halves = graph.add("Mul", *_split(graph, x, feed.point, feed.depth, 2, [0, 1]))
    return graph.add("Add", _scaled(graph, halves, feed.project, scale), x)


def attention(
    graph: Graph,
    hata: Hata,
    x: str,
    scale: Tensor,
    shape: tuple[int, ...],
    given: Tensor | str | None,
) -> str:
    """x plus the scaled attention; ``shape`` is that of x.

    With an attention ``given`` (heads, c, c) that is a convolution, or by the name of an input a
    product, and queries and keys are not made unless `Hata.products` are watched.
    """
    own = [0, 1] if given is None or graph.watched is not None else []
    *parts, v = _split(graph, x, hata.point, hata.depth, 3, [*own, 2])
    products = _products(graph, hata, parts, shape) if parts else []
    if graph.watched is not None:
        keys = graph.add("Transpose", products[2], perm=[0, 1, 3, 2])
        whole = graph.add("Concat", products[0], products[1], keys, axis=3)
        graph.watched.append(graph.add("Reshape", whole, graph.constant([-1])))
    if given is None:
        y = _mixed(graph, hata, _attention(graph, hata, products), v, shape)
    elif isinstance(given, str):
        y = _mixed(graph, hata, given, v, shape)
    else:
        mix: Tensor = torch.block_diag(*given.cpu())  # type: ignore[no-untyped-call]
        y = graph.conv(v, mix[:, :, None, None])
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


def _products(graph: Graph, hata: Hata, parts: list[str], shape: tuple[int, ...]) -> list[str]:
    """Of q with k (N, heads, c, c), and of q (N, heads, c, 1) and k (N, heads, 1, c) alone."""
    n, c, h, w = shape
    by_head = graph.constant([n, hata.heads, c // hata.heads, h * w])
    rows, cols = (graph.add("Reshape", part, by_head) for part in parts)
    last = graph.constant([3])
    # Not ReduceL2: ONNX Runtime spent a tenth of the network's time on it.
    squares = [
        graph.add("ReduceSum", graph.add("Mul", part, part), last, keepdims=1)
        for part in (rows, cols)
    ]
    turned = [graph.add("Transpose", part, perm=[0, 1, 3, 2]) for part in (cols, squares[1])]
    return [graph.add("MatMul", rows, turned[0]), squares[0], turned[1]]


def _attention(graph: Graph, hata: Hata, products: list[str]) -> str:
    """`Hata.attention` of products (N, heads, c, c)."""
    sizes = graph.add("Mul", *(graph.add("Sqrt", square) for square in products[1:]))
    # The square of the floor that F.normalize puts under each norm.
    sizes = graph.add("Max", sizes, graph.constant(torch.tensor(1e-24)))
    alike = graph.add("Div", products[0], sizes)
    hot = graph.add("Mul", alike, graph.constant(hata.temperature.cpu()))
    return graph.add("Softmax", hot, axis=3)


def _mixed(graph: Graph, hata: Hata, attention: str, v: str, shape: tuple[int, ...]) -> str:
    """v, its channels mixed by an attention (heads, c, c), or (N, heads, c, c)."""
    n, c, h, w = shape
    values = graph.add("Reshape", v, graph.constant([n, hata.heads, c // hata.heads, h * w]))
    mixed = graph.add("MatMul", attention, values)
    return graph.add("Reshape", mixed, graph.constant(list(shape)))
