import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.diffusion import Schedule, sample
from tests.model_fixtures import random, start_noise

SCHEDULE = Schedule.linear()
BOTH = pytest.mark.parametrize("schedule", [SCHEDULE, Schedule.cosine()], ids=["linear", "cosine"])


def crooked(state: Tensor, step: int) -> Tensor:
    """A denoiser whose answer depends on everything it is given."""
    return torch.tanh(state.roll(1, dims=3) * (step + 1) - 0.2)


def textbook(noise: Tensor, steps: list[int], schedule: Schedule) -> Tensor:
    """DDIM with eta = 0 (Song et al. 2021, eq. 12), a line a term."""
    state = noise
    for i, step in enumerate(steps):
        a = torch.tensor(schedule.alpha_bar[step])
        clean = crooked(state, step)
        epsilon = (state - a.sqrt() * clean) / (1 - a).sqrt()
        b = torch.tensor(schedule.alpha_bar[steps[i + 1]] if i + 1 < len(steps) else 1.0)
        state = b.sqrt() * clean + (1 - b).sqrt() * epsilon
    return state


def test_five_steps_are_the_whole_chain() -> None:
    expected = [0.9, 0.610, 0.277, 0.0645, 0.00065]
    assert SCHEDULE.alpha_bar == pytest.approx(expected, rel=1e-2)
    # What the eye reads off a cosine: half is left near the middle.
    expected = [0.908, 0.666, 0.363, 0.110, 0.00095]
    assert Schedule.cosine().alpha_bar == pytest.approx(expected, rel=1e-2)


def test_the_cosine_schedule_is_what_is_said_of_it() -> None:
    formula = "cos(pi / 2 * t / (T + 0.1))^2"
    page = (Path(__file__).parents[1] / "docs" / "training.md").read_text("utf-8")
    assert formula in page
    assert formula in str(Schedule.cosine.__doc__)
    for steps in (3, 5, 10):
        known = [math.cos(math.pi / 2 * t / (steps + 0.1)) ** 2 for t in range(1, steps + 1)]
        assert Schedule.cosine(steps).alpha_bar == tuple(known)


@BOTH
def test_a_diffused_state_keeps_unit_size(schedule: Schedule) -> None:
    step, clean = torch.arange(5), torch.randn(5, 7, 32, 32, generator=random(0))
    noisy = schedule.diffuse(clean, torch.randn(clean.shape, generator=random(1)), step)
    assert noisy.flatten(1).var(dim=1) == pytest.approx(torch.ones(5), abs=0.05)


def test_each_sample_is_diffused_to_its_own_step() -> None:
    clean, noise = torch.ones(2, 1, 1, 1), torch.zeros(2, 1, 1, 1)
    left = SCHEDULE.diffuse(clean, noise, torch.tensor([4, 0])).flatten()
    assert left.tolist() == pytest.approx([SCHEDULE.alpha_bar[4] ** 0.5, 0.9**0.5])


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_steps_go_from_the_noisiest_down_without_repeat(steps: int) -> None:
    visited = SCHEDULE.visited(steps)
    assert visited[0] == 4
    assert len(set(visited)) == steps
    assert visited == sorted(visited, reverse=True)
    assert steps == 1 or visited[-1] == 0


@pytest.mark.parametrize("steps", [0, 6, -1])
def test_other_numbers_of_steps_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="steps must be 1 to 5"):
        SCHEDULE.visited(steps)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_perfect_denoiser_gives_the_truth_from_any_noise(steps: int, seed: int) -> None:
    truth = start_noise(seed=9)
    found = sample(lambda state, step: truth, start_noise(seed=seed) * 10, SCHEDULE, steps)
    assert torch.equal(found, truth)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
@BOTH
def test_the_sampler_is_the_textbooks(schedule: Schedule, steps: int) -> None:
    expected = textbook(start_noise(), schedule.visited(steps), schedule)
    torch.testing.assert_close(sample(crooked, start_noise(), schedule, steps), expected)


def test_the_sampler_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    first, second = (sample(crooked, start_noise(), SCHEDULE, 5) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, second)
