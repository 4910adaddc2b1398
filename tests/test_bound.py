"""What of a scene the model is bound to: its windows, as its tiles are shown to it."""

import numpy as np
import pytest
import torch

import model
from flows.bound import bind, closure_of
from flows.settings import TileSettings
from pipeline.camera import load_camera, resampled
from pipeline.context import Context, Measured
from pipeline.grid import Window
from pipeline.noise import noise

NETWORK = model.load()
BANDS = tuple(NETWORK.wavelengths.tolist())
CAMERA = resampled(load_camera("srgb"), BANDS)
RGB = np.random.default_rng(0).uniform(0.1, 1, (2, 3, 32, 64)).astype(np.float32)
WINDOWS = [
    Context(Window(0, 32, 32, 64), RGB[0], 1.0),
    Context(Window(96, 0, 32, 64), RGB[1], 0.3),
]


def views(monkeypatch: pytest.MonkeyPatch, settings: TileSettings) -> list[model.View]:
    """What the scene of `WINDOWS`, at a scale of 0.5, is looked at by."""
    found: list[model.View] = []

    def attending(self: model.Reconstructor, seen: list[model.View], *_: object) -> object:
        found.extend(seen)
        return self

    monkeypatch.setattr(model.Reconstructor, "attending", attending)
    bind(settings, NETWORK, "torch", CAMERA, Measured(0.5, WINDOWS))
    return found


def test_windows_are_shown_as_they_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    found = views(monkeypatch, TileSettings(engine="torch"))
    assert [view.share for view in found] == [1.0, 0.3]
    assert [view.noise for view in found] == [None, None]
    assert all(np.array_equal(view.rgb, of.rgb) for view, of in zip(found, WINDOWS, strict=True))


def test_windows_start_from_the_noise_of_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TileSettings(engine="torch", start="noise", samples=3, seed=7)
    for view, of in zip(views(monkeypatch, settings), WINDOWS, strict=True):
        assert view.noise is not None
        assert torch.equal(view.noise, torch.from_numpy(noise(of.window, len(BANDS), 7)))


def test_windows_are_filtered_as_tiles_are(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TileSettings(engine="torch", noise_level=0.05)
    likely = closure_of(settings, NETWORK, CAMERA, 0.5).likely
    for view, of in zip(views(monkeypatch, settings), WINDOWS, strict=True):
        assert np.array_equal(view.rgb, likely(of.rgb))
        assert not np.allclose(view.rgb, of.rgb, atol=1e-3)
