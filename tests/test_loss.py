import pytest
import torch

from model.loss import loss
from tests.model_fixtures import tile

# Mean size 11/4, differences down the rows (3, 6) / 2, along the columns (3, 0) / 2.
ERROR = torch.tensor([[[[1.0, -2.0], [4.0, 4.0]]]])


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 2.75), (1.0, 8.75), (0.5, 5.75)])
def test_the_loss_is_that_computed_by_hand(weight: float, expected: float) -> None:
    assert loss(ERROR, torch.zeros_like(ERROR), weight).item() == pytest.approx(expected)


def test_the_weight_is_one_by_default() -> None:
    assert loss(ERROR, torch.zeros_like(ERROR)).item() == pytest.approx(8.75)


def test_a_constant_error_has_no_gradient_loss() -> None:
    truth = tile(channels=5)
    assert loss(truth + 0.5, truth).item() == pytest.approx(0.5, abs=1e-6)


def test_only_the_error_counts() -> None:
    truth, error = tile(channels=5), tile(channels=5, seed=1)
    shifted = loss(truth + error, truth)
    torch.testing.assert_close(shifted, loss(error, torch.zeros_like(error)))
    assert loss(truth, truth).item() == 0
