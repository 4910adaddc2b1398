"""Root-polynomial regression, the baseline every network has to beat.

Finlayson, Mackiewicz and Hurlbert, 'Color correction using root-polynomial regression', IEEE
Transactions on Image Processing 24 (2015): roots of the products of r, g and b, each of degree one
in the exposure, then one matrix. RGB times k gives the cube times k.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.checkpoint import configured, describe_kind, read, write
from model.lift import apply_matrix

KIND = "root-polynomial"
DEGREE = 3
"""Degree and ridge were chosen by leaving scenes out of CAVE's training scenes."""
RIDGE = 1e-6


def monomials(degree: int) -> list[tuple[int, ...]]:
    """The channels whose product's root is a feature: 6 of degree 2, 13 of degree 3.

    Raises ValueError for other degrees.
    """
    if degree not in (2, 3):
        raise ValueError(f"the degree must be 2 or 3; got {degree}. Take {DEGREE}.")
    orders = range(2, degree + 1)
    products = [p for order in orders for p in combinations_with_replacement(range(3), order)]
    # The root of a channel's own power is the channel again.
    return [(0,), (1,), (2,), *(product for product in products if len(set(product)) > 1)]


def features(rgb: Tensor, degree: int) -> Tensor:
    """Root-polynomial features (N, features, H, W) of linear RGB (N, 3, H, W), negatives clipped.

    r, g, b, sqrt(rg), sqrt(rb), sqrt(gb), and of degree 3 the cube roots of r^2 g, r^2 b, r g^2,
    r g b, r b^2, g^2 b, g b^2 as well.
    """
    seen = rgb.clamp(min=0)
    roots = {order: seen.pow(1 / order) for order in range(1, degree + 1)}
    products = [roots[len(which)][:, list(which)].prod(dim=1) for which in monomials(degree)]
    return torch.stack(products, dim=1)


class RootPolynomial:
    """A matrix on root-polynomial features, for one camera: the second reconstructor.

    It needs no scale: it follows the exposure by itself.
    """

    noises = 0
    spread = False

    def __init__(
        self, matrix: Tensor, wavelengths: Sequence[float], camera: str, degree: int = DEGREE
    ) -> None:
        """``matrix`` (bands, features) float32, ``wavelengths`` (bands) in nm."""
        wanted = (len(wavelengths), len(monomials(degree)))
        if matrix.shape != wanted:
            raise ValueError(f"the matrix must be {wanted}; got {tuple(matrix.shape)}. Fit it.")
        self.matrix, self.camera, self.degree = matrix, camera, degree
        self.wavelengths = tuple(wavelengths)

    def __call__(self, rgb: Tensor, noise: Tensor) -> Tensor:  # noqa: ARG002
        """Reflectance (N, bands, T, T) of linear rgb (N, 3, T, T); the noise is not looked at."""
        return apply_matrix(self.matrix.to(rgb), features(rgb, self.degree))

    @classmethod
    def fit(
        cls,
        batches: Iterable[tuple[Tensor, Tensor]],
        wavelengths: Sequence[float],
        camera: str,
        degree: int = DEGREE,
        ridge: float = RIDGE,
    ) -> "RootPolynomial":
        """Least squares over every pixel of (rgb (N, 3, H, W), cube (N, bands, H, W)) batches.

        Streaming and in float64. ``ridge`` is a share of the features' mean energy. A batch
        divided by k, rgb and cube alike, weighs 1 / k^2. Raises ValueError without light, where
        something is not finite, and for shapes that do not fit.
        """
        count = len(monomials(degree))
        gram = torch.zeros(count, count, dtype=torch.float64)
        cross = torch.zeros(count, len(wavelengths), dtype=torch.float64)
        for rgb, cube in batches:
            wanted = (len(rgb), 3, *rgb.shape[2:]), (len(rgb), len(wavelengths), *rgb.shape[2:])
            if (rgb.shape, cube.shape) != wanted:
                found = f"{tuple(rgb.shape)} and {tuple(cube.shape)}"
                raise ValueError(f"rgb and cube must be {wanted}; got {found}. Turn their axes.")
            known = _columns(features(rgb.double(), degree))
            gram += known @ known.T
            cross += known @ _columns(cube.double()).T
        energy = float(gram.trace()) / count
        if not (0 < energy < float("inf") and cross.isfinite().all()):
            raise ValueError(f"a fit needs light and finite pixels; got a mean energy of {energy}.")
        damped = gram + ridge * energy * torch.eye(count, dtype=torch.float64)
        return cls(torch.linalg.solve(damped, cross).T.float(), wavelengths, camera, degree)

    def save(self, path: Path, training: dict[str, Any]) -> str:
        """Write the fit and how it was made (JSON-able); returns the digest."""
        config = {"camera": self.camera, "degree": self.degree}
        return write(path, (KIND, config), self._tensors(), training)

    @classmethod
    def load(cls, path: Path) -> "RootPolynomial":
        """The fit in a file, on the CPU. Raises CheckpointError for any other file."""
        about = describe_kind(path, KIND)
        with configured(path):
            camera, degree = about["config"]["camera"], about["config"]["degree"]
            matrix = torch.empty(len(about["wavelengths_nm"]), len(monomials(degree)))
            empty = cls(matrix, about["wavelengths_nm"], camera, degree)
            like = empty._tensors()
        matrix = read(path, about, like)["matrix"]
        return cls(matrix, empty.wavelengths, camera, degree)

    def _tensors(self) -> dict[str, Tensor]:
        wavelengths = torch.tensor(self.wavelengths, dtype=torch.float64)
        return {"matrix": self.matrix.contiguous(), "wavelengths": wavelengths}


def _columns(image: Tensor) -> Tensor:
    """(N, C, H, W) to (C, pixels)."""
    return image.transpose(0, 1).flatten(1)
