import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchmetrics.functional.image as functional
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from pipeline.errors import Refusal
from pipeline.metrics import Array, ergas, mrae, psnr, rmse, sam, score, ssim

METRICS = [mrae, rmse, psnr, sam, ssim, ergas]


def pair() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    reference = random.random((4, 20, 24)).astype(np.float32)
    return np.clip(reference + random.normal(0, 0.05, reference.shape), 0, 1), reference


def spectra(*columns: tuple[float, ...]) -> np.ndarray:
    """(wavelength, 1, n) of n spectra."""
    return np.array(columns, np.float32).T[:, None, :]


def test_by_hand() -> None:
    x, y = spectra((0.3, 0.4), (0.5, 0.0)), spectra((0.2, 0.8), (0.5, 0.0))
    assert mrae(x, y) == pytest.approx((0.5 + 0.5 + 0 + 0) / 4)
    assert rmse(x, y) == pytest.approx(math.sqrt((0.01 + 0.16) / 4))
    assert psnr(x, y) == pytest.approx(10 * math.log10(4 / 0.17), abs=1e-6)
    angle = math.acos((0.3 * 0.2 + 0.4 * 0.8) / (0.5 * math.hypot(0.2, 0.8)))
    assert sam(x, y) == pytest.approx(math.degrees(angle) / 2, abs=1e-5)


def test_ergas_by_hand() -> None:
    x, y = spectra((0.3, 0.4)), spectra((0.2, 0.8))
    expected = 100 * math.sqrt(((0.1 / 0.2) ** 2 + (0.4 / 0.8) ** 2) / 2)
    assert ergas(x, y) == pytest.approx(expected, rel=1e-6)


def test_as_torchmetrics_has_it() -> None:
    x, y = (torch.from_numpy(array.astype(np.float64))[None] for array in pair())
    mine = score(x[0].numpy(), y[0].numpy())
    # Its mean counts windows that hang over the edge too; ours those inside.
    _, full = functional.structural_similarity_index_measure(
        x, y, sigma=1.5, data_range=1.0, return_full_image=True
    )
    theirs = {
        "psnr": functional.peak_signal_noise_ratio(x, y, data_range=1.0),
        "sam": functional.spectral_angle_mapper(x, y) * 180 / math.pi,
        "ssim": full[..., 5:-5, 5:-5].mean(),
        "ergas": functional.error_relative_global_dimensionless_synthesis(x, y, ratio=1.0),
    }
    for name, value in theirs.items():
        assert mine[name] == pytest.approx(value.item(), rel=1e-6), name


def mst_psnr(true: torch.Tensor, fake: torch.Tensor, peak: float = 255.0) -> float:
    """MST++'s PSNR by its formula: clamped, times 255, re-laid in memory by `resize_`."""
    count, size = len(true), true[0].numel()
    flat = [image.clamp(0, 1).mul_(peak).resize_(count, size) for image in (true, fake)]
    error = (flat[0] - flat[1]).square().sum(dim=1) / size
    return (10 * torch.log10(peak**2 / error)).mean().item()


def test_as_mst_plus_plus_computes_it() -> None:
    x, y = (torch.from_numpy(array.astype(np.float64))[None] for array in pair())
    y = y + 0.01
    ours = x[0].numpy(), y[0].numpy()
    relative = ((x - y).abs() / y).reshape(-1).mean().item()
    assert mrae(*ours, floor=0) == pytest.approx(relative, abs=1e-6)
    assert rmse(*ours) == pytest.approx((x - y).square().mean().sqrt().item(), abs=1e-6)
    assert psnr(*ours) == pytest.approx(mst_psnr(y, x), abs=1e-6)


def test_the_trap_of_tensors_that_are_not_contiguous() -> None:
    # `clamp` keeps the strides of a transposed tensor and `resize_` then takes its memory for rows.
    x, y = (torch.from_numpy(array.astype(np.float64))[None] for array in pair())
    turned = y.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(turned, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert abs(mst_psnr(turned, x) - mst_psnr(y, x)) > 3
    assert psnr(x[0].numpy(), turned[0].numpy()) == pytest.approx(mst_psnr(y, x), abs=1e-6)


def test_mrae_without_a_floor_is_infinite_at_zero() -> None:
    assert mrae(spectra((0.1, 0.2)), spectra((0.0, 0.2)), floor=0) == math.inf


def test_mrae_has_a_floor_under_the_reference() -> None:
    assert mrae(spectra((0.03, 0.02)), spectra((0.0, 0.005))) == pytest.approx((3 + 1.5) / 2)


def test_psnr_clips_both_and_has_one_mean() -> None:
    assert psnr(spectra((1.7, -0.3)), spectra((1.2, 0.0))) == math.inf
    x, y = spectra((0.6, 0.5)), spectra((0.5, 0.5))
    assert psnr(x, y) == pytest.approx(10 * math.log10(2 / 0.01), abs=1e-5)


@pytest.mark.parametrize(
    ("one", "other", "degrees"),
    [
        ((1, 0), (0, 2), 90),
        ((1, 0), (1, 1), 45),
        ((0.1, 0.2), (0.3, 0.6), 0),
        ((0, 0), (0.3, 0.6), 90),
        ((0.3, 0.6), (0, 0), 90),
        ((0, 0), (0, 0), 0),
    ],
)
def test_angle(one: tuple[float, ...], other: tuple[float, ...], degrees: float) -> None:
    assert sam(spectra(one), spectra(other)) == pytest.approx(degrees, abs=1e-4)


def test_as_scikit_image_has_it() -> None:
    x, y = pair()
    assert rmse(x, y) ** 2 == pytest.approx(mean_squared_error(y, x))
    assert psnr(x, y) == pytest.approx(peak_signal_noise_ratio(y, x, data_range=1))


def test_ssim_is_the_mean_of_wangs_images() -> None:
    # Of low contrast, where the settings tell.
    x, y = (0.5 + 0.1 * array.astype(np.float64) for array in pair())
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    images = [
        structural_similarity(a, b, data_range=1, win_size=11, **wang)
        for a, b in zip(x, y, strict=True)
    ]
    assert ssim(x, y) == pytest.approx(np.mean(images))


def test_ssim_of_constants_by_hand() -> None:
    x, y = np.full((2, 12, 12), 0.25), np.full((2, 12, 12), 0.75)
    # Without variance the second factor is 1; c1 is Wang's 0.01^2.
    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    assert ssim(x, y) == pytest.approx(expected)


@pytest.mark.parametrize("metric", METRICS)
def test_layout_in_memory_is_no_matter(metric: Callable[[Array, Array], float]) -> None:
    x, y = pair()
    padded = np.zeros((4, 30, 50), np.float32)
    cut = padded[:, 5:25, 1:49:2]
    cut[:] = y
    layouts = [cut, np.asfortranarray(y), np.moveaxis(np.ascontiguousarray(y.T), -1, 0).mT]
    assert not any(layout.flags["C_CONTIGUOUS"] for layout in layouts)
    for layout in layouts:
        np.testing.assert_array_equal(layout, y)
        # In the last bits sums may run in another order; the trap is an error of decibels.
        assert metric(x, layout) == pytest.approx(metric(x, y), rel=1e-12)
        assert metric(layout, x) == pytest.approx(metric(y, x), rel=1e-12)


def test_score_names_every_metric() -> None:
    x, y = pair()
    assert score(x, y) == {metric.__name__: metric(x, y) for metric in METRICS}
    assert list(score(x, y)) == ["mrae", "rmse", "psnr", "sam", "ssim", "ergas"]


def test_a_perfect_estimate() -> None:
    _, y = pair()
    expected = {"mrae": 0, "rmse": 0, "psnr": math.inf, "sam": 0, "ssim": 1, "ergas": 0}
    assert score(y, y) == pytest.approx(expected, abs=1e-5)


def test_nan_is_not_hidden() -> None:
    x, y = pair()
    x[:, 0, 0] = np.nan
    assert all(math.isnan(value) for value in score(x, y).values())


def test_what_cannot_be_compared_is_refused() -> None:
    x, y = pair()
    with pytest.raises(Refusal, match="one shape"):
        rmse(x, y[:, :, :1])
    with pytest.raises(Refusal, match="11 pixels"):
        ssim(x[:, :10], y[:, :10])
