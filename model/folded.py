"""The whole chain as one ONNX graph for one camera, with all that is constant folded in.

It answers what `R2HDiff.forward` answers, but for the order of sums (about 1e-6), with less to do:

* The camera is constant, so its lift is part of the guide's first convolution and its projector
  part of the head.
* The sampler is linear, so between steps the state never leaves the stem's few channels:
  ``stem(keep * state + gain * clean) = keep * stem(state) + (gain * stem @ head) features``.
* The guide's half of every GSRM is the same at each step and computed once.
* Scales of residual branches, time shifts and GSRM's identity are part of the weights beside them.
* HATA divides the small matrix of products by the norms, not every pixel.
* Convolutions whose answer is split are split, so that a runtime keeps its own memory layout.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from model.blocks import HEAD_LIMIT, OVERFLOW, STEM_LIMIT, FeedForward, Gsrm, Hata
from model.graph import Graph, Linear
from model.lift import wiener_lift
from model.network import Block, Denoiser, Guide, time_embedding
from model.reconstructor import R2HDiff

Guided = tuple[str, str]
"""Names of the guide's share of a GSRM's gate and shift."""


def build(model: R2HDiff, sensitivities: Tensor, steps: int, shape: tuple[int, int]) -> bytes:
    """The graph from rgb (N, 3, T, T) and noise (N, bands, T, T) to cube, serialised.

    ``sensitivities`` are (3, bands) and ``shape`` is (N, T). Raises ValueError where `supported`
    says no.
    """
    if not supported(model):
        raise ValueError(f"the graph is of a whole network; got {model.config}. Use torch.")
    graph = Graph()
    with torch.no_grad():
        cube = _chain(graph, model, sensitivities, steps, shape)
    (n, tile), bands = shape, model.config.bands
    inputs = {name: [n, c, tile, tile] for name, c in (("rgb", 3), ("noise", bands))}
    return graph.serialised(inputs, (cube, [n, bands, tile, tile]))


def supported(model: R2HDiff) -> bool:
    """Whether the graph knows every part: all but the ablations of HATA, GSRM and norms."""
    return model.config.hata and model.config.gsrm and not model.config.normalise


def _chain(
    graph: Graph, model: R2HDiff, sensitivities: Tensor, steps: int, shape: tuple[int, int]
) -> str:
    lift, hidden = _camera(model, sensitivities)
    features = _guide(graph, model.guide, lift)
    visited, alpha_bar = model.schedule.visited(steps), model.schedule.alpha_bar
    stem, head = Linear.of(model.denoiser.stem), Linear.of(model.denoiser.head)
    head = Linear(hidden, torch.zeros(len(hidden)).double()).after(head)
    embed = model.config.time_width
    times = [time_embedding(torch.tensor([alpha_bar[v]]), embed).float() for v in visited]
    network = _Network(graph, model.denoiser, features, times, shape)
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
    cube = graph.linear(last, Linear(unit * head.weight, unit * head.bias))
    return (
        cube if lift is None else graph.add("Add", cube, graph.conv("rgb", lift[:, :, None, None]))
    )


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
        x = _feed(graph, feed, x, torch.ones(()))
        x = _between(graph, x, feed.project.out_channels, guide.bounded)
        features.append(x)
    return features


def _between(graph: Graph, x: str, width: int, bound: bool) -> str:
    """`model.blocks.between`."""
    return graph.bounded(x, width, HEAD_LIMIT) if bound else graph.cut(x, OVERFLOW)


def _down(graph: Graph, down: nn.Module, x: str) -> str:
    assert isinstance(down, nn.Conv2d)
    return graph.conv(x, down.weight, down.bias, stride=2)


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


def _feed(graph: Graph, feed: FeedForward, x: str, scale: Tensor) -> str:
    """x plus the scaled feed-forward."""
    halves = graph.add("Mul", *_split(graph, x, feed.point, feed.depth, 2))
    return graph.add("Add", _scaled(graph, halves, feed.project, scale), x)


def _hata(graph: Graph, hata: Hata, x: str, scale: Tensor, shape: tuple[int, ...]) -> str:
    """x plus the scaled attention; ``shape`` is that of x."""
    n, c, h, w = shape
    q, k, v = _split(graph, x, hata.point, hata.depth, 3)
    by_head = graph.constant([n, hata.heads, c // hata.heads, h * w])
    rows, cols, values = (graph.add("Reshape", part, by_head) for part in (q, k, v))
    last = graph.constant([3])
    norms = [graph.add("ReduceL2", part, last, keepdims=1) for part in (rows, cols)]
    turned = [graph.add("Transpose", part, perm=[0, 1, 3, 2]) for part in (cols, norms[1])]
    sizes = graph.add("Mul", norms[0], turned[1])
    # The square of the floor that F.normalize puts under each norm.
    sizes = graph.add("Max", sizes, graph.constant(torch.tensor(1e-24)))
    alike = graph.add("Div", graph.add("MatMul", rows, turned[0]), sizes)
    hot = graph.add("Mul", alike, graph.constant(hata.temperature.cpu()))
    mixed = graph.add("MatMul", graph.add("Softmax", hot, axis=3), values)
    y = graph.add("Reshape", mixed, graph.constant(list(shape)))
    place = graph.conv(v, hata.position.weight, groups=c)
    return graph.add("Add", _scaled(graph, graph.add("Add", place, y), hata.project, scale), x)


def _gsrm_parts(gsrm: Gsrm) -> tuple[Linear, Linear]:
    """The mix as maps of (features and guide) to gate and to shift; GSRM's scale in the latter."""
    mix, scale = Linear.of(gsrm.mix), gsrm.scale.double().cpu().reshape(-1)
    gate, shift = (
        Linear(*half) for half in zip(mix.weight.chunk(2), mix.bias.chunk(2), strict=True)
    )
    return gate, Linear(scale[:, None] * shift.weight, scale * shift.bias)


def _gsrm_guide(graph: Graph, gsrm: Gsrm, guide: str) -> Guided:
    width = gsrm.scale.shape[1]
    gate, shift = (
        graph.linear(guide, Linear(of.weight[:, width:], of.bias)) for of in _gsrm_parts(gsrm)
    )
    return gate, shift


def _gsrm(graph: Graph, gsrm: Gsrm, x: str, guided: Guided, time: Tensor) -> str:
    """``x + scale * (x * tanh(gate) + shift)`` at one time embedding (1, time_width)."""
    scale, width = gsrm.scale.double().cpu().reshape(-1), gsrm.scale.shape[1]
    gate_time, shift_time = gsrm.time(time)[0].double().cpu().chunk(2)
    gate, shift = _gsrm_parts(gsrm)
    gate = Linear(gate.weight[:, :width], gate_time)
    kept = Linear(shift.weight[:, :width] + torch.eye(width), scale * shift_time)
    open_ = graph.add("Tanh", graph.add("Add", graph.linear(x, gate), guided[0]))
    gated = graph.per_channel(graph.add("Mul", x, open_), scale)
    return graph.add("Add", gated, graph.add("Add", graph.linear(x, kept), guided[1]))


class _Network:
    """The denoiser without its stem and head, its guidance computed once."""

    def __init__(
        self,
        graph: Graph,
        denoiser: Denoiser,
        features: list[str],
        times: list[Tensor],
        shape: tuple[int, int],
    ) -> None:
        self.graph, self.denoiser, self.times, self.shape = graph, denoiser, times, shape
        self.guided: dict[nn.Module, Guided] = {}
        for blocks in (denoiser.down_blocks, denoiser.up_blocks):
            for level, block in enumerate(blocks):
                self._guide(block, features[level])
        for block in denoiser.bottom:
            self._guide(block, features[-1])

    def _guide(self, block: nn.Module, features: str) -> None:
        assert isinstance(block, Block)
        self.guided[block] = _gsrm_guide(self.graph, block.gsrm, features)

    def features(self, x: str, number: int) -> str:
        """What the head sees at the step of that number, from the stem's answer."""
        of, graph, skips = self.denoiser, self.graph, []
        x = graph.bounded(x, len(of.stem.weight), STEM_LIMIT)
        time = of.time(self.times[number].to(of.head.weight.device))
        for level, (block, down) in enumerate(zip(of.down_blocks, of.downs, strict=True)):
            skips.append(x := self._block(block, x, level, time))
            x = _down(graph, down, x)
        for block in of.bottom:
            x = self._block(block, x, len(skips), time)
        for level in reversed(range(len(skips))):
            up = of.ups[level]
            assert isinstance(up, nn.ConvTranspose2d)
            assert up.bias is not None
            both = [graph.constant(up.weight), graph.constant(up.bias)]
            x = graph.add("ConvTranspose", x, *both, strides=[2, 2])
            x = graph.add("Add", x, skips[level])
            x = self._block(of.up_blocks[level], x, level, time)
        return graph.bounded(x, len(of.stem.weight), HEAD_LIMIT)

    def _block(self, block: nn.Module, x: str, level: int, time: Tensor) -> str:
        assert isinstance(block, Block)
        assert isinstance(block.hata, Hata)
        x = _gsrm(self.graph, block.gsrm, x, self.guided[block], time)
        n, side = self.shape[0], self.shape[1] >> level
        width = block.gsrm.scale.shape[1]
        x = _hata(self.graph, block.hata, x, block.scales[0], (n, width, side, side))
        x = _feed(self.graph, block.feed, x, block.scales[1])
        return _between(self.graph, x, width, block.bounded)
