"""Whether images can tell their camera: ``python -m benchmarks.adapt CAVE``.

Training scenes, every eighth pixel each way, are rendered by a camera, and the model is told a
profile. Three ways to mend a profile by the statistics of images alone, the second moment of their
RGB (each over its scale) against the one that the profile makes of the spectral prior: a 3 x 3 that
moves the profile's onto that of ten scenes (the optimal transport of two Gaussians); the library's
camera that is nearest to it (Kullback-Leibler), the true one left out; and the 3 x 3 of each scene
by itself. Prints PSNR in dB on eleven other scenes. The prior is that of all these scenes, which
favours all three. A minute on a quiet core.
"""

import sys

import numpy as np
import torch
from numpy.typing import NDArray

import model
from benchmarks.cameras import BASLER, lens
from flows.learn_settings import TrainSettings
from flows.settings import load
from pipeline.camera import SRGB, Floats, library
from pipeline.cave import cave
from pipeline.exposure import scale_of
from pipeline.metrics import psnr
from pipeline.rendering import render

PAIRS = (
    ("nikon-d5100", BASLER), (BASLER, SRGB), (SRGB, BASLER), ("canon-eos-5d", "sony-ilce-7m3"),
    ("hasselblad-l1d-20c", "nikon-d700"), ("fujifilm-x-t3", "canon-eos-5d-mark-ii"),
    (BASLER, BASLER), (SRGB, SRGB), ("nikon-d700", "nikon-d700"),
)  # fmt: skip
"""What took the images, and what the model is told."""

Doubles = NDArray[np.float64]


def moment(images: list[Floats]) -> Doubles:
    """(3, 3): mean over images (3, h, w) of the second moment of their RGB over its scale."""
    pixels = [(rgb / scale_of(rgb)).reshape(3, -1).astype(np.float64) for rgb in images]
    return np.asarray(np.mean([x @ x.T / x.shape[1] for x in pixels], axis=0))


def root(matrix: Doubles) -> Doubles:
    """The symmetric square root of a symmetric matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 1e-12))) @ vectors.T)


def moved(told: Doubles, prior: Doubles, seen: Doubles) -> Doubles:
    """The profile (3, bands) times the 3 x 3 that moves its moment onto the one seen."""
    half = root(told @ prior @ told.T)
    back = np.linalg.inv(half)
    rows = back @ root(half @ seen @ half) @ back @ told
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


def nearest(prior: Doubles, seen: Doubles, but: str) -> Doubles:
    """The library's camera whose moment is nearest to the one seen."""
    found = []
    for name in library():
        rows = lens(name).sensitivities.astype(np.float64)
        ratio = np.linalg.solve(rows @ prior @ rows.T, seen)
        found.append((np.trace(ratio) - np.linalg.slogdet(ratio)[1], name))
    name = min(one for one in found if one[1] != but)[1]
    return lens(name).sensitivities.astype(np.float64)


def main(folder: str) -> None:
    """Print a row a pair."""
    network, dataset = model.load(), cave(folder)
    prior = network.prior.double().numpy()
    names = load(TrainSettings, "train-cave.toml").scenes
    cubes = [np.ascontiguousarray(dataset.read(name).cube[:, ::8, ::8]) for name in names]

    def scores(told: Doubles, images: list[Floats], truths: list[Floats]) -> Doubles:
        bound = model.Reconstructor(network, torch.from_numpy(told.astype(np.float32)))
        answers = [bound.at(scale_of(rgb))(torch.from_numpy(rgb)[None])[0] for rgb in images]
        kept = [answer.clamp(min=0).numpy() for answer in answers]
        return np.array([psnr(one, truth) for one, truth in zip(kept, truths, strict=True)])

    print("| taken by | told | true | told | moved | nearest | each by itself |")
    print("|---|---|---|---|---|---|---|")
    for true, told in PAIRS:
        camera, profile = lens(true), lens(told).sensitivities.astype(np.float64)
        known, asked = ([render(cube, camera) for cube in cubes[start::2]] for start in (0, 1))
        truths, seen = cubes[1::2], moment(known)
        ways = (
            camera.sensitivities.astype(np.float64),
            profile,
            moved(profile, prior, seen),
            nearest(prior, seen, true),
        )
        found = [scores(way, asked, truths).mean() for way in ways]
        alone = [
            scores(moved(profile, prior, moment([rgb])), [rgb], [truth])[0]
            for rgb, truth in zip(asked, truths, strict=True)
        ]
        cells = " | ".join(f"{value:.2f}" for value in [*found, np.mean(alone)])
        print(f"| {true} | {told} | {cells} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
