"""What a scene's channels attend to: decided once, from windows of it, and not by each tile.

HATA weighs channels by products of queries and keys, summed over all pixels that the network is
shown. By those of a tile, tiles of one scene would be other networks; by those of the scene all are
one, as if it saw the scene whole, and nothing is left to be summed in a tile (docs/decisions/0034).
"""

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from model.blocks import Hata
from model.reconstructor import Attention, R2HDiff

Watch = Callable[[Tensor, Tensor, Attention | None], Tensor]
"""rgb (1, 3, H, W) in the model's unit and start noise (1, bands, H, W), under an attention or
their own, to the products of all steps and blocks, one after the other (P,); for threads."""


class View(NamedTuple):
    """A window of a scene, for its attention."""

    rgb: Tensor
    """(3, H, W), linear, sides multiples of the network's reduction."""
    noise: Tensor | None
    """What the chain starts from (bands, H, W); None for zero."""
    share: float
    """How much it counts: the share of its pixels that are known."""


def hatas(model: R2HDiff) -> list[Hata]:
    """The network's attentions, in the order in which features pass them; none of an ablation."""
    return [block.hata for block in model.denoiser.blocks if block.hata is not None]


def watched(model: R2HDiff, sensitivities: Tensor, steps: int) -> Watch:
    """The products of the model for one camera, sensitivities (3, bands), by torch."""
    camera = sensitivities.float()[None].to(model.prior)

    def watch(rgb: Tensor, noise: Tensor, attention: Attention | None) -> Tensor:
        found: list[Tensor] = []

        def note(hata: Hata, inputs: tuple[Tensor, ...]) -> None:
            found.append(hata.products(inputs[0]).flatten())

        mine = copy.deepcopy(model)  # what is hung on it, other threads do not see
        for hata in hatas(mine):
            hata.register_forward_pre_hook(note)
        mine.guided(rgb.to(camera), camera, steps, attention)(noise.to(camera))
        return torch.cat(found).cpu()

    return watch


@torch.inference_mode()
def pooled(model: R2HDiff, steps: int, products: Tensor) -> list[list[Tensor]]:
    """The attention of each step and block, by products (P,) that are summed over a scene."""
    blocks = hatas(model)
    shapes = [(heads, side, side + 2) for heads, side, _ in (hata.shape for hata in blocks)]
    sizes = [heads * c * wide for heads, c, wide in shapes]
    found = []
    for step in torch.split(products, sum(sizes)):
        parts = zip(blocks, shapes, torch.split(step, sizes), strict=True)
        found.append(
            [
                hata.attention(part.reshape(shape).to(hata.temperature))
                for hata, shape, part in parts
            ]
        )
    assert len(found) == steps, "as many products as the chain has steps"
    return found


def weighed(views: Sequence[View], products: Sequence[Tensor]) -> Tensor:
    """The products of views, summed in their order: the same however many threads there were."""
    shares = torch.tensor([view.share for view in views], dtype=torch.float64)
    return (torch.stack(list(products)).double() * shares[:, None]).sum(dim=0).float()
