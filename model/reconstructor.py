"""R2H-Diff as a whole, and bound to one camera as a reconstructor of tiles."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.diffusion import Schedule, sample
from model.lift import apply_matrix, unseen, wiener_lift
from model.network import Denoiser, Guide, NetworkConfig, time_embedding

Attention = Sequence[Sequence[Tensor]]
"""What attends to what, of each step and block (heads, c, c): see `model.attention`."""


class Condition(NamedTuple):
    """What the steps of one tile share: computed once, from the RGB and the camera."""

    lift: Tensor
    """(N, bands, H, W): the camera's first guess of the cube; zeros for the paper's target."""
    camera: Tensor
    """S, (N or 1, 3, bands)."""
    inverse: Tensor
    """G, (N or 1, bands, 3)."""
    features: list[Tensor]


class R2HDiff(nn.Module):
    """The conditional diffusion model.

    It diffuses a state u of unit size. With ``target='residual'`` the cube is
    ``G rgb + deviation * P u``: whatever the network answers, the cube renders back to the RGB.
    With ``target='cube'``, the paper's own form, the cube is ``deviation * u`` and the RGB is the
    only guide.
    """

    prior: Tensor
    deviation: Tensor
    wavelengths: Tensor

    def __init__(self, config: NetworkConfig, wavelengths: Tensor, prior: Tensor) -> None:
        super().__init__()
        self.config = config
        self.schedule = Schedule.cosine() if config.schedule == "cosine" else Schedule.linear()
        self.guide = Guide(config)
        self.denoiser = Denoiser(config)
        self.register_buffer("prior", prior.float().clone())
        self.register_buffer("wavelengths", wavelengths.double().clone())
        self.register_buffer("deviation", torch.ones(()))
        self._shares = torch.empty(0)

    def condition(
        self, rgb: Tensor, sensitivities: Tensor, inverse: Tensor | None = None
    ) -> Condition:
        """From linear rgb (N, 3, H, W), white = 1, and sensitivities (N or 1, 3, bands).

        ``inverse`` is their `wiener_lift`, where it is known.
        """
        self._check(rgb)
        inverse = wiener_lift(sensitivities, self.prior) if inverse is None else inverse
        if self.config.target == "cube":
            lift = rgb.new_zeros(rgb.shape[0], self.config.bands, *rgb.shape[2:])
            return Condition(lift, sensitivities, inverse, self.guide(rgb))
        lift = apply_matrix(inverse, rgb)
        features = self.guide(torch.cat([rgb, lift], dim=1))
        return Condition(lift, sensitivities, inverse, features)

    def _check(self, rgb: Tensor) -> None:
        step = self.config.reduction
        if rgb.ndim != 4 or rgb.shape[1] != 3 or rgb.shape[2] % step or rgb.shape[3] % step:
            raise ValueError(
                f"tiles must be (N, 3, H, W) with H and W multiples of {step}; "
                f"got {tuple(rgb.shape)}. Pad the tile."
            )

    def denoise(
        self,
        state: Tensor,
        condition: Condition,
        step: Tensor,
        attention: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Estimate of the clean state from (N, bands, H, W) at steps (N,).

        ``attention`` is that of each block, where tiles do not have their own.
        """
        time = time_embedding(self._signal(state)[step], self.config.time_width)
        clean: Tensor = self.denoiser(state, condition.features, time, attention)
        return self._hidden(clean, condition)

    def _signal(self, like: Tensor) -> Tensor:
        """The schedule's shares of signal, on a device: a copy would wait for all before it."""
        shares = self._shares
        if not len(shares) or (shares.device, shares.dtype) != (like.device, like.dtype):
            known = self.schedule.alpha_bar
            self._shares = shares = torch.tensor(known, dtype=like.dtype, device=like.device)
        return shares

    def _hidden(self, state: Tensor, condition: Condition) -> Tensor:
        if self.config.target == "cube":
            return state
        return unseen(state, condition.camera, condition.inverse)

    def to_state(self, cube: Tensor, condition: Condition) -> Tensor:
        """The state that stands for a cube (N, bands, H, W)."""
        return self._hidden(cube, condition) / self.deviation

    def to_cube(self, state: Tensor, condition: Condition) -> Tensor:
        """The cube a state stands for."""
        return torch.addcmul(condition.lift, state, self.deviation)

    def guided(
        self,
        rgb: Tensor,
        sensitivities: Tensor,
        steps: int,
        attention: Attention | None = None,
        inverse: Tensor | None = None,
    ) -> Callable[[Tensor], Tensor]:
        """From start noise (N, bands, H, W) to cube; what rgb says is computed once."""
        condition = self.condition(rgb, sensitivities, inverse)
        visited = self.schedule.visited(steps)
        given = {} if attention is None else dict(zip(visited, attention, strict=True))

        def denoise(state: Tensor, step: int) -> Tensor:
            steps_of = torch.full((len(state),), step, device=state.device)
            return self.denoise(state, condition, steps_of, given.get(step))

        return lambda noise: self.to_cube(sample(denoise, noise, self.schedule, steps), condition)

    def forward(self, rgb: Tensor, sensitivities: Tensor, noise: Tensor, steps: int) -> Tensor:
        """Cube (N, bands, H, W) from linear RGB and start noise."""
        return self.guided(rgb, sensitivities, steps)(noise)
