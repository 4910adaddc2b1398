"""How far off an estimate may be: sigma of every wavelength of every pixel, from what a pass knows.

A power law: a constant of each wavelength times powers of brightness, of colour, of the roughness
of the spectrum and of the value itself. Under Laplace errors the likelihood of the exponents is
convex, so a fit has one answer and draws nothing (docs/decisions/0014). All is in the model's unit,
reflectance over the scene's scale.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.checkpoint import configured, describe_kind, digest, read, write
from model.engine import Reconstructor
from model.lift import apply_matrix

KIND = "uncertainty"
LEVELS = (0.5, 0.8, 0.9)
"""Shares of pixels that the intervals are given for."""
WITHIN_SIGMA = math.erf(math.sqrt(0.5))
"""Share of errors that are smaller than sigma, as of normal ones: 0.683."""
BRIGHTEST = 4.0
"""Brightness, or colour, beyond which sigma no longer follows it: no scene's 99th percentile of
brightness is higher."""
_LAWS = ("one", "samples")
SHARED, OWN = 5, 1
"""Features that all wavelengths of a pixel share, and those each has for itself."""


def shared_features(rgb: Tensor, cube: Tensor) -> Tensor:
    """One, log brightness, its square, log roughness and log colour: (N, 5, H, W).

    Colour is how far the farthest band is from the mean of the three.
    """
    mean = rgb.mean(dim=1, keepdim=True)
    bright = (mean[:, 0].clamp(0, BRIGHTEST) + 0.02).log()
    colour = ((rgb - mean).abs_().amax(dim=1).clamp_(max=BRIGHTEST) + 0.005).log_()
    bends = cube[:, 2:] - 2 * cube[:, 1:-1] + cube[:, :-2]
    rough = (bends.square_().mean(dim=1).sqrt_() + 1e-3).log_()
    return torch.stack([torch.ones_like(bright), bright, bright.square(), rough, colour], dim=1)


def _log_value(cube: Tensor) -> Tensor:
    return cube.abs().add_(0.01).log_()


def _log_spread(spread: Tensor) -> Tensor:
    return (spread + 1e-4).log_()


def features(rgb: Tensor, cube: Tensor, spread: Tensor | None = None) -> Tensor:
    """All features of every wavelength (N, bands, F, H, W), as a fit takes them.

    ``spread`` (N, bands, H, W) is that of samples, where there are several.
    """
    shared = shared_features(rgb, cube)[:, None].expand(-1, cube.shape[1], -1, -1, -1)
    own = [_log_value(cube)] + ([] if spread is None else [_log_spread(spread)])
    return torch.cat([shared, torch.stack(own, dim=2)], dim=2)


@dataclass(frozen=True, slots=True, eq=False)
class PowerLaw:
    """Sigma from features."""

    weights: Tensor
    """(bands, features) float32."""
    factors: Tensor
    """(levels,): an interval of that level is the estimate plus or minus factor * sigma."""

    def sigma(self, rgb: Tensor, cube: Tensor, spread: Tensor | None = None) -> Tensor:
        """Sigma (N, bands, H, W) as of `features`, without making them all at once."""
        weights = self.weights.to(cube)
        value, *more = weights[:, SHARED:].mT[..., None, None]
        total = apply_matrix(weights[:, :SHARED], shared_features(rgb, cube))
        total.addcmul_(_log_value(cube), value)
        if spread is not None:
            total.addcmul_(_log_spread(spread), more[0])
        return total.exp_()

    def of(self, known: Tensor) -> Tensor:
        """Sigma (n, bands) of features (n, bands, F)."""
        return torch.einsum("nbf,bf->nb", known, self.weights).exp()

    @classmethod
    def fit(cls, known: Tensor, errors: Tensor, group: Tensor | None = None) -> "PowerLaw":
        """From features (n, bands, F), absolute errors (n, bands) and the group of each pixel (n,).

        Exponents are of maximum likelihood over all pixels. How large sigma is, a wavelength at a
        time (68.3 % of errors are below), and how many of it an interval takes, is read off each
        group's errors under the exponents of the others, each group counting once (the CV+ of
        Barber et al. 2021, "Predictive inference with the jackknife+"). Of one group: its own.
        """
        # Errors of nothing at all would ask for a sigma of nothing.
        known, size = known.double(), errors.double().clamp(min=1e-6)
        group = torch.zeros(len(known)) if group is None else group
        weights, names = newton(known, size), torch.unique(group)
        ratio, share = torch.empty_like(size), size.new_empty(len(size))
        for name in names:
            own = group == name
            others = weights if len(names) == 1 else newton(known[~own], size[~own], start=weights)
            ratio[own] = size[own] / torch.einsum("nbf,bf->nb", known[own], others).exp()
            share[own] = 1 / own.sum()
        scale = _quantiles(ratio, share, (WITHIN_SIGMA,))
        weights[:, 0] += scale.log()[0]
        pooled, each = (ratio / scale).flatten()[:, None], share.repeat_interleave(ratio.shape[1])
        factors = _quantiles(pooled, each, LEVELS)[:, 0]
        return cls(weights.float(), factors.float())


def newton(
    known: Tensor, errors: Tensor, ridge: float = 1e-3, start: Tensor | None = None
) -> Tensor:
    """Weights (bands, F) that minimise ``error / sigma + log sigma`` with log sigma linear.

    Features (n, bands, F), the first of them 1, and errors (n, bands) above 0, float64. The
    ridge is on standardised features. A start near the answer saves time and changes nothing.
    """
    bands, count = known.shape[1:]
    mean, size = known.mean(dim=0), known.std(dim=0)
    # What does not vary is left to the constant.
    moves = size > 1e-9
    mean, size = torch.where(moves, mean, 0), torch.where(moves, size, 1)
    mean[:, 0] = 0
    unit = (known - mean) / size * moves.index_fill(1, torch.tensor([0]), value=True)
    damping = ridge * torch.eye(count, dtype=torch.float64)
    damping[0, 0] = 0
    weights = torch.zeros(bands, count, dtype=torch.float64)
    weights[:, 0] = errors.mean(dim=0).log()
    if start is not None:
        weights = start * size
        weights[:, 0] += (start * mean)[:, 1:].sum(dim=1)
    for _ in range(50):
        ratio = errors * (-torch.einsum("nbf,bf->nb", unit, weights)).exp()
        slope = torch.einsum("nb,nbf->bf", 1 - ratio, unit) / len(unit) + weights @ damping
        bend = torch.einsum("nbf,nbg->bfg", ratio[..., None] * unit, unit) / len(unit) + damping
        step = torch.linalg.solve(bend, slope)
        # Far from the best weights a whole step may overshoot.
        weights = weights - step * min(1.0, 1.0 / max(1e-12, float(step.abs().max())))
        if float(step.abs().max()) < 1e-6:
            break
    raw = weights / size
    raw[:, 0] = weights[:, 0] - (weights * mean / size)[:, 1:].sum(dim=1)
    return raw


def _quantiles(values: Tensor, share: Tensor, levels: tuple[float, ...]) -> Tensor:
    """(levels, columns) of values (n, columns) that count by their share (n,), whatever its sum."""
    ordered = values.sort(dim=0)
    below = share[ordered.indices].cumsum(dim=0) / share.sum()
    last = len(values) - 1
    at = [(below <= level).sum(dim=0).clamp(max=last) for level in levels]
    return ordered.values.gather(0, torch.stack(at))


@dataclass(frozen=True, slots=True, eq=False)
class Uncertainty:
    """The laws that belong to one checkpoint: of a single pass, and of samples."""

    one: PowerLaw
    samples: PowerLaw
    wavelengths: tuple[float, ...]
    network: str
    """Digest of the checkpoint."""

    @property
    def digest(self) -> str:
        """What `save` writes into a file of these numbers."""
        return digest(self._tensors(), json.dumps(self._config(), sort_keys=True))

    def _config(self) -> dict[str, Any]:
        return {"network": self.network, "levels": LEVELS}

    def save(self, path: Path, training: dict[str, Any]) -> str:
        """Write the numbers and how they were made (JSON-able); returns the digest."""
        return write(path, (KIND, self._config()), self._tensors(), training)

    @classmethod
    def load(cls, path: Path) -> "Uncertainty":
        """The laws in a file. Raises CheckpointError for any other file."""
        about = describe_kind(path, KIND)
        with configured(path):
            network, found = about["config"]["network"], about["config"]["levels"]
            if found != list(LEVELS):
                raise ValueError(f"levels {found} where {LEVELS} are known")
            bands, levels = len(about["wavelengths_nm"]), torch.empty(len(LEVELS))
            one, samples = (
                PowerLaw(torch.empty(bands, SHARED + OWN + more), levels) for more in (0, 1)
            )
            empty = cls(one, samples, tuple(about["wavelengths_nm"]), network)
            like = empty._tensors()
        held = read(path, about, like)
        one, samples = (PowerLaw(held[f"{law}.weights"], held[f"{law}.factors"]) for law in _LAWS)
        return cls(one, samples, empty.wavelengths, network)

    def _tensors(self) -> dict[str, Tensor]:
        laws = dict(zip(_LAWS, (self.one, self.samples), strict=True))
        tensors = {f"{name}.weights": law.weights for name, law in laws.items()}
        tensors |= {f"{name}.factors": law.factors for name, law in laws.items()}
        return tensors | {"wavelengths": torch.tensor(self.wavelengths, dtype=torch.float64)}


def beside(checkpoint: Path) -> Path:
    """Where the laws of a checkpoint lie: NAME.uncertainty.safetensors."""
    return checkpoint.with_suffix(".uncertainty.safetensors")


class Calibrated:
    """A reconstructor with sigma after its answer: ``(rgb, noise) -> (N, 2 bands, T, T)``."""

    spread = True

    def __init__(self, reconstructor: Reconstructor, uncertainty: Uncertainty) -> None:
        """Raises ValueError where the laws are of other wavelengths."""
        if reconstructor.wavelengths != uncertainty.wavelengths:
            raise ValueError(
                f"sigma is known at {uncertainty.wavelengths} nm; got a model at "
                f"{reconstructor.wavelengths}. Calibrate it."
            )
        self._reconstruct = reconstructor
        self._law = uncertainty.samples if reconstructor.spread else uncertainty.one
        self.noises, self.wavelengths = reconstructor.noises, reconstructor.wavelengths
        self.digest = uncertainty.digest
        widths = zip(LEVELS, self._law.factors.tolist(), strict=True)
        self.factors = {f"{level:.0%}": round(width, 4) for level, width in widths}
        """How many sigma the interval of each level is wide, to either side."""

    @torch.inference_mode()
    def __call__(self, rgb: Tensor, noise: Tensor | None = None) -> Tensor:
        """Reflectance and its sigma of linear rgb (N, 3, T, T), one after the other."""
        answer, scale = self._reconstruct(rgb, noise), self._reconstruct.scale
        bands = len(self.wavelengths)
        unit = answer / scale
        spread = unit[:, bands:] if self._reconstruct.spread else None
        sigma = self._law.sigma(rgb / scale, unit[:, :bands], spread)
        return torch.cat([answer[:, :bands], sigma.mul_(scale)], dim=1)
