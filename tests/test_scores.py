import math

import numpy as np
import pytest

from pipeline.errors import Refusal
from pipeline.metrics import psnr, score, ssim
from pipeline.scores import ANGLES, PROTOCOLS, Scores, bootstrap


def pair(height: int = 40, width: int = 24) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    reference = 0.02 + 0.9 * random.random((4, height, width)).astype(np.float32)
    return np.clip(reference + random.normal(0, 0.05, reference.shape), -0.1, 1.1), reference


@pytest.mark.parametrize("rows", [1, 3, 7, 16, 40])
def test_bands_of_rows_give_the_whole(rows: int) -> None:
    x, y = pair()
    scores = Scores(4)
    for row in range(0, 40, rows):
        scores.add(x[:, row : row + rows], y[:, row : row + rows])
    assert scores.result() == pytest.approx(score(x, y), rel=1e-12)


def test_wavelengths_are_scored_each() -> None:
    x, y = pair()
    scores = Scores(4)
    scores.add(x, y)
    found = scores.by_wavelength()
    for band in range(4):
        alone = score(x[band : band + 1], y[band : band + 1])
        for name in ("mrae", "rmse", "psnr", "ssim"):
            assert found[name][band] == pytest.approx(alone[name], rel=1e-12)


def test_what_is_not_valid_counts_nowhere() -> None:
    x, y = pair()
    valid = np.ones(x.shape[1:], bool)
    valid[:15, :8] = False
    x[:, ~valid] = np.nan
    scores = Scores(4)
    for row in range(0, 40, 9):
        scores.add(x[:, row : row + 9], y[:, row : row + 9], valid[row : row + 9])
    found = scores.result()
    known = x[:, valid][:, None], y[:, valid][:, None]
    assert found["psnr"] == pytest.approx(psnr(*known), rel=1e-12)
    # Windows of SSIM that touch none of it: below, and beside.
    assert sum(scores.histogram()) == valid.sum()
    below, beside = ssim(x[:, 15:], y[:, 15:]), ssim(x[:, :, 8:], y[:, :, 8:])
    corner = ssim(x[:, 15:, 8:], y[:, 15:, 8:])
    counts = {"below": 15 * 14, "beside": 30 * 6, "corner": 15 * 6}
    total = below * counts["below"] + beside * counts["beside"] - corner * counts["corner"]
    share = total / (counts["below"] + counts["beside"] - counts["corner"])
    assert found["ssim"] == pytest.approx(share, rel=1e-10)


def test_the_histogram_holds_every_pixel() -> None:
    x, y = pair()
    scores = Scores(4)
    scores.add(x, y)
    counts = scores.histogram()
    assert (len(counts), sum(counts)) == (len(ANGLES) - 1, 40 * 24)
    same = Scores(4)
    same.add(y, y)
    assert same.histogram()[0] == 40 * 24


def test_protocols() -> None:
    challenge = PROTOCOLS["ntire2022"]
    assert (challenge.rows(482), challenge.rows(512)) == (slice(128, 354), slice(128, 384))
    assert PROTOCOLS["full"].rows(482) == slice(0, 482)
    with pytest.raises(Refusal, match="256 pixels"):
        challenge.rows(256)
    x, y = pair()
    y[0, 0, 0] = 0
    for name, finite in (("full", True), ("ntire2022", False)):
        scores = Scores(4, PROTOCOLS[name].floor)
        scores.add(x, y)
        assert math.isfinite(scores.result()["mrae"]) == finite


def test_nothing_valid_has_no_score() -> None:
    x, y = pair()
    scores = Scores(4)
    scores.add(x, y, np.zeros(x.shape[1:], bool))
    with pytest.raises(Refusal, match="11 valid"):
        scores.result()


def test_an_interval_is_of_the_mean_over_scenes() -> None:
    values = np.random.default_rng(1).normal(30, 2, 200).tolist()
    low, high = bootstrap(values)
    half = 1.96 * np.std(values) / math.sqrt(200)
    assert (low, high) == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=0.05)
    assert bootstrap(values) == (low, high)
    assert bootstrap(values, seed=1) != (low, high)
    assert bootstrap([3.0]) == (3, 3)
