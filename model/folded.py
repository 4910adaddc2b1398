"""The whole chain as one ONNX graph for one camera, with all that is constant folded in.

It answers what `R2HDiff.forward` answers, but for the order of sums (about 1e-6), with less to do:

* The camera is constant, so its lift is part of the guide's first convolution and its projector
  part of the head.
* The sampler is linear, so between steps the state never leaves the stem's few channels:
  ``stem(keep * state + gain * clean) = keep * stem(state) + (gain * stem @ head) features``.
* The guide's half of every GSRM is the same at each step and computed once.
* Scales of residual branches, time shifts and GSRM's identity are part of the weights beside them.
* A scene's attention is constant too: a convolution, without queries and keys. Where tiles have
  their own, HATA divides the small matrix of products by the norms, not every pixel.
* Convolutions whose answer is split are split, so that a runtime keeps its own memory layout.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from model.attention import hatas
from model.blocks import HEAD_LIMIT, OVERFLOW, STEM_LIMIT, FeedForward, Hata
from model.graph import Graph, Linear
from model.lift import wiener_lift
from model.network import Block, Denoiser, Guide, time_embedding
from model.nodes import (
    Guided,
    attention,
    feed_forward,
    gsrm,
    gsrm_guide,
)
from model.reconstructor import Attention, R2HDiff

Shape = tuple[int, int, int]
"""N, H and W."""
Given = Sequence[Sequence[Tensor | str]]
"""An attention, or the names by which it comes."""


def build(
    model: R2HDiff,
    sensitivities: Tensor,
    steps: int,
    shape: Shape,
    attention: Attention | None = None,
) -> bytes:
    """The graph from rgb (N, 3, H, W) and noise (N, bands, H, W) to cube, serialised.

    ``sensitivities`` are (3, bands), ``attention`` that of a scene, or tiles have their own. Raises
    ValueError where `supported` says no.
    """
    graph = Graph()
    features, lift, hidden = _chain(graph, model, sensitivities, steps, shape, attention)
    cube = graph.linear(features, hidden)
    if lift is not None:
        cube = graph.add("Add", cube, graph.conv("rgb", lift[:, :, None, None]))
    n, *sides = shape
    return _serialised(graph, model, shape, (cube, [n, model.config.bands, *sides]))


def build_features(
    model: R2HDiff,
    sensitivities: Tensor,
    steps: int,
    shape: Shape,
    attention: Attention | None = None,
) -> tuple[bytes, Linear]:
    """The same without the last layer.

    The graph answers features (N, C, H, W); the cube is the map that comes with it, of rgb and
    features one after the other. So these may be rounded, and what the camera sees is not.
    """
    graph = Graph()
    features, lift, hidden = _chain(graph, model, sensitivities, steps, shape, attention)
    seen = torch.zeros(len(hidden.bias), 3) if lift is None else lift
    last = Linear(torch.cat([seen, hidden.weight], dim=1), hidden.bias)
    n, *sides = shape
    answer = (features, [n, hidden.weight.shape[1], *sides])
    return _serialised(graph, model, shape, answer), last


def build_products(
    model: R2HDiff, sensitivities: Tensor, steps: int, shape: Shape, given: bool
) -> bytes:
    """The graph from the same to the products of all queries and keys (P,); N is 1.

    Where attention is ``given`` it is an input too, by its `names`, so that one graph serves all
    scenes; else a tile has its own.
    """
    graph, rows = Graph(), names(model, steps) if given else []
    graph.watched = []
    _chain(graph, model, sensitivities, steps, shape, rows or None)
    products = graph.add("Concat", *graph.watched, axis=0)
    more = {n: [*of.shape] for row in rows for n, of in zip(row, hatas(model), strict=True)}
    return _serialised(graph, model, shape, (products, ["P"]), more)


def names(model: R2HDiff, steps: int) -> list[list[str]]:
    """Of the attention of each step and block, where it is an input."""
    return [[f"attention {i} {j}" for j in range(len(hatas(model)))] for i in range(steps)]


def _serialised(
    graph: Graph,
    model: R2HDiff,
    shape: Shape,
    answer: tuple[str, list[Any]],
    more: Mapping[str, list[int]] | None = None,
) -> bytes:
    n, *sides = shape
    inputs = {name: [n, c, *sides] for name, c in (("rgb", 3), ("noise", model.config.bands))}
    return graph.serialised({**inputs, **(more or {})}, answer)


def supported(model: R2HDiff) -> bool:
    """Whether the graph knows every part: all but the ablations of HATA, GSRM and norms."""
    return model.config.hata and model.config.gsrm and not model.config.normalise


@torch.no_grad()
def _chain(
    graph: Graph,
    model: R2HDiff,
    sensitivities: Tensor,
    steps: int,
    shape: Shape,
    attention: Given | None,
) -> tuple[str, Tensor | None, Linear]:
    """The last step's features, and what makes a cube of rgb (None: nothing does) and of them."""
    if not supported(model):
        raise ValueError(f"the graph is of a whole network; got {model.config}. Use torch.")
    lift, hidden = _camera(model, sensitivities)
    features = _guide(graph, model.guide, lift)
    visited, alpha_bar = model.schedule.visited(steps), model.schedule.alpha_bar
    stem, head = Linear.of(model.denoiser.stem), Linear.of(model.denoiser.head)
    head = Linear(hidden, torch.zeros(len(hidden)).double()).after(head)
    shares = torch.tensor(alpha_bar, dtype=torch.float32)[visited]
    times = [time_embedding(share[None], model.config.time_width) for share in shares]
    network = _Network(graph, model.denoiser, features, times, shape, attention)
    # Unbounded: that is for the network to do, the chain itself is linear.
    state = graph.linear("noise", stem)
    for number, (step, following) in enumerate(pairwise(visited)):
        # As in `sample`: keep * state + gain * clean.
        here, there = alpha_bar[step], alpha_bar[following]
        keep = ((1 - there) / (1 - here)) ** 0.5
        gain = there**0.5 - keep * here**0.5
        moved = Linear(gain * stem.weight, (1 - keep) * stem.bias).after(head)
        kept = graph.per_channel(state, torch.full_like(stem.bias, keep))
        state = graph.add("Add", graph.linear(network.features(state, number), moved), kept)
    last = network.features(state, len(visited) - 1)
    unit = model.deviation.double()
    return last, lift, Linear(unit * head.weight, unit * head.bias)


def _camera(model: R2HDiff, sensitivities: Tensor) -> tuple[Tensor | None, Tensor]:
    """G (bands, 3), or None where the cube itself is diffused, and the projector of a state."""
    identity = torch.eye(model.config.bands, dtype=torch.float64)
    if model.config.target == "cube":
        return None, identity
    lift = wiener_lift(sensitivities, model.prior.cpu()).double()
    return lift, identity - lift @ sensitivities.double()


def _guide(graph: Graph, guide: Guide, lift: Tensor | None) -> list[str]:
    """Names of `model.network.Guide`'s features, one a level."""
    weight, bias = guide.stem.weight.double().cpu(), guide.stem.bias
    assert bias is not None
    if lift is not None:
        weight = weight[:, :3] + torch.einsum("obhw,bc->ochw", weight[:, 3:], lift)
    x, features = graph.bounded(graph.conv("rgb", weight, bias), len(bias), STEM_LIMIT), []
    for level, feed in enumerate(guide.feeds):
        if level:
            x = _down(graph, guide.downs[level - 1], x)
        assert isinstance(feed, FeedForward)
        x = feed_forward(graph, feed, x, torch.ones(()))
        x = _between(graph, x, feed.project.out_channels, guide.bounded)
        features.append(x)
    return features


def _between(graph: Graph, x: str, width: int, bound: bool) -> str:
    """`model.blocks.between`."""
    return graph.bounded(x, width, HEAD_LIMIT) if bound else graph.cut(x, OVERFLOW)


def _down(graph: Graph, down: nn.Module, x: str) -> str:
    assert isinstance(down, nn.Conv2d)
    return graph.conv(x, down.weight, down.bias, stride=2)


class _Network:
    """The denoiser without its stem and head, its guidance computed once."""

    def __init__(
        self,
        graph: Graph,
        denoiser: Denoiser,
        features: list[str],
        times: list[Tensor],
        shape: Shape,
        attention: Given | None,
    ) -> None:
        self.graph, self.denoiser, self.times = graph, denoiser, times
        self.shape, self.attention = shape, attention
        self.guided: dict[nn.Module, Guided] = {}
        for blocks in (denoiser.down_blocks, denoiser.up_blocks):
            for level, block in enumerate(blocks):
                self._guide(block, features[level])
        for block in denoiser.bottom:
            self._guide(block, features[-1])

    def _guide(self, block: nn.Module, features: str) -> None:
        assert isinstance(block, Block)
        self.guided[block] = gsrm_guide(self.graph, block.gsrm, features)

    def features(self, x: str, number: int) -> str:
        """What the head sees at the step of that number, from the stem's answer."""
        of, graph, skips = self.denoiser, self.graph, []
        given = iter(self.attention[number] if self.attention else [None] * len(of.blocks))
        x = graph.bounded(x, len(of.stem.weight), STEM_LIMIT)
        time = of.time(self.times[number].to(of.head.weight.device))
        for level, (block, down) in enumerate(zip(of.down_blocks, of.downs, strict=True)):
            skips.append(x := self._block(block, x, level, time, next(given)))
            x = _down(graph, down, x)
        for block in of.bottom:
            x = self._block(block, x, len(skips), time, next(given))
        for level in reversed(range(len(skips))):
            up = of.ups[level]
            assert isinstance(up, nn.ConvTranspose2d)
            assert up.bias is not None
            both = [graph.constant(up.weight), graph.constant(up.bias)]
            x = graph.add("ConvTranspose", x, *both, strides=[2, 2])
            x = graph.add("Add", x, skips[level])
            x = self._block(of.up_blocks[level], x, level, time, next(given))
        return graph.bounded(x, len(of.stem.weight), HEAD_LIMIT)

    def _block(
        self, block: nn.Module, x: str, level: int, time: Tensor, given: Tensor | str | None
    ) -> str:
        assert isinstance(block, Block)
        assert isinstance(block.hata, Hata)
        x = gsrm(self.graph, block.gsrm, x, self.guided[block], time)
        width, (n, *sides) = block.gsrm.scale.shape[1], self.shape
        shape = (n, width, *(side >> level for side in sides))
        x = attention(self.graph, block.hata, x, block.scales[0], shape, given)
        x = feed_forward(self.graph, block.feed, x, block.scales[1])
        return _between(self.graph, x, width, block.bounded)
