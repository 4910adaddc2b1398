"""What repainting is worth: ``python -m benchmarks.breadth CAVE MEASURED.npz [SHARE ...]``.

A small network a pixel is trained on the training scenes without one group of look-alikes, on crops
of which a share is repainted, and scored on that group; validation scenes are not read. Prints the
means over the five groups: PSNR in dB, SAM in degrees, MRAE floored at 0.01. A minute or two a
share on one core.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from flows.learn_settings import TrainSettings
from flows.settings import load
from model.lift import apply_matrix, unseen, wiener_lift
from pipeline.camera import Floats, load_camera, resampled
from pipeline.cave import WAVELENGTHS, cave
from pipeline.crops import Crops, spectral_prior
from pipeline.materials import measured_reflectances
from pipeline.metrics import mrae, psnr, sam

GROUPS = (
    ("face", "photo_and_face", "hairs"),
    (
        "fake_and_real_food", "fake_and_real_peppers", "real_and_fake_peppers",
        "real_and_fake_apples", "fake_and_real_lemons", "fake_and_real_lemon_slices",
        "fake_and_real_strawberries", "fake_and_real_tomatoes",
    ),
    ("balloons", "beads", "glass_tiles"),
    ("pompoms", "stuffed_toys", "clay"),
    ("paints", "watercolors", "cd", "fake_and_real_beers"),
)  # fmt: skip
CAMERA = resampled(load_camera("basler-a2a5320-23uc"), WAVELENGTHS)
SEEN = torch.from_numpy(CAMERA.sensitivities)[None]
ITERATIONS = 1000


class PixelNetwork(nn.Module):
    """The Wiener lift and what three layers add of the unseen, from one pixel's RGB."""

    def __init__(self, prior: Tensor) -> None:
        super().__init__()
        self.lift = wiener_lift(SEEN, prior)
        layers = [part for inputs in (9, 64, 64) for part in (nn.Conv2d(inputs, 64, 1), nn.GELU())]
        self.layers = nn.Sequential(*layers, nn.Conv2d(64, 31, 1))

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 31, H, W)."""
        hue = rgb / (rgb.mean(dim=1, keepdim=True) + 0.02)
        features = torch.cat([rgb, (rgb + 1e-4).sqrt(), hue], dim=1)
        added = unseen(0.1 * self.layers(features), SEEN, self.lift)
        return apply_matrix(self.lift, rgb) + added


def crops(cubes: list[Floats], share: float, materials: Floats) -> Crops:
    """Small crops of thinned scenes, a share of them repainted."""
    return Crops(cubes, [CAMERA], [1.0], 24, 4, 0.3, 0, repaint=share, materials=materials)


def fitted(stream: Crops) -> PixelNetwork:
    """L1, AdamW, a cosine to zero."""
    torch.manual_seed(0)
    network = PixelNetwork(torch.from_numpy(spectral_prior(stream)))
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, ITERATIONS)
    for iteration in range(ITERATIONS):
        rgb, cube, _ = map(torch.from_numpy, stream.at(iteration))
        optimiser.zero_grad()
        (network(rgb) - cube).abs().mean().backward()
        optimiser.step()
        schedule.step()
    return network


@torch.no_grad()
def scored(network: PixelNetwork, cube: Floats, scale: float) -> list[float]:
    """PSNR, SAM and MRAE of a scene."""
    rgb = np.maximum(CAMERA.render(cube), 0) / np.float32(scale)
    estimate = network(torch.from_numpy(rgb)[None])[0].clamp(min=0).numpy() * scale
    return [metric(estimate, cube) for metric in (psnr, sam, mrae)]


def leave_groups_out(scenes: dict[str, Floats], share: float, materials: Floats) -> Floats:
    """(groups, 3): the mean scores of each group's scenes by a network that saw none of them."""
    rows = []
    for group in GROUPS:
        network = fitted(crops([c for n, c in scenes.items() if n not in group], share, materials))
        known = [scenes[name] for name in group]
        of = crops(known, 0, materials)
        scales = [of.seen(scene, 0).scale for scene in range(len(known))]
        scores = [scored(network, cube, scale) for cube, scale in zip(known, scales, strict=True)]
        rows.append(np.mean(scores, axis=0))
    return np.array(rows)


def main(root: str, measured: str, *shares: str) -> None:
    """Print a line a share."""
    opened = cave(root)
    names = load(TrainSettings, "train-cave.toml").scenes
    scenes = {name: np.ascontiguousarray(opened.read(name).cube[:, ::4, ::4]) for name in names}
    materials = measured_reflectances(Path(measured), WAVELENGTHS)
    for share in map(float, shares or ("0", "0.5")):
        table = leave_groups_out(scenes, share, materials)
        figures = " ".join(f"{value:.3f}" for value in table.mean(axis=0))
        print(f"repaint {share}: {figures}; PSNR of the groups {table[:, 0].round(2)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
