import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.lift import apply_matrix, unseen, wiener_lift
from tests.model_fixtures import camera, prior, tile

cameras = st.builds(camera, st.integers(0, 2**31), st.integers(4, 31))


def hidden(s: Tensor) -> Tensor:
    """P (1, bands, bands) of a camera."""
    bands = s.shape[-1]
    columns = torch.eye(bands)[None, :, :, None]
    return unseen(columns, s, wiener_lift(s, prior(bands)))[..., 0]


@given(cameras)
def test_the_lift_renders_back_to_the_rgb(s: Tensor) -> None:
    back = s @ wiener_lift(s, prior(s.shape[-1]))
    torch.testing.assert_close(back, torch.eye(3)[None], atol=1e-5, rtol=0)


@given(cameras)
def test_the_camera_sees_nothing_of_what_is_hidden(s: Tensor) -> None:
    assert (s @ hidden(s)).abs().max() < 1e-5


@given(cameras)
def test_hiding_twice_is_hiding_once(s: Tensor) -> None:
    p = hidden(s)
    torch.testing.assert_close(p @ p, p, atol=1e-5, rtol=0)


def test_the_lift_is_the_least_squares_guess_of_its_prior() -> None:
    spectra = torch.linalg.cholesky(prior())
    s, lift = camera()[0].double(), wiener_lift(camera()[0], prior()).double()
    error = spectra - lift @ (s @ spectra)
    # At the optimum the error is uncorrelated with what was seen.
    assert (error @ (s @ spectra).T).abs().max() < 1e-6


def test_a_matrix_is_applied_to_each_pixel_by_itself() -> None:
    image, s = tile(side=4, channels=7), camera()
    expected = torch.einsum("ab,nbhw->nahw", s[0], image)
    torch.testing.assert_close(apply_matrix(s, image), expected)
    torch.testing.assert_close(apply_matrix(s[0], image), expected)


def test_each_sample_may_have_its_own_camera() -> None:
    both = torch.cat([camera(1), camera(2)])
    image = tile(count=2, channels=7)
    apart = torch.cat(
        [apply_matrix(s[None], one[None]) for s, one in zip(both, image, strict=True)]
    )
    torch.testing.assert_close(apply_matrix(both, image), apart)
    torch.testing.assert_close(wiener_lift(both, prior())[1:], wiener_lift(camera(2), prior()))


@given(cameras, st.sampled_from(["mixed", "repeated", "dark", "nan"]))
def test_a_camera_with_dependent_channels_is_refused(s: Tensor, how: str) -> None:
    last = {"mixed": 0.3 * s[:, 0] + 0.7 * s[:, 1], "repeated": s[:, 0], "dark": 0 * s[:, 0]}
    s[:, 2] = last.get(how, s[:, 2] * torch.nan)
    with pytest.raises(ValueError, match="linearly independent"):
        wiener_lift(s, prior(s.shape[-1]))
