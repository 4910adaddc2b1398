import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.diagnosis import Diverged, Watch
from model.lift import apply_matrix
from model.train import Batch, TrainConfig, Trainer
from tests.model_fixtures import awake, camera, random, small_model

CONFIG = TrainConfig(iterations=4, warm_up=2, save_every=100, seed=5)


def batch(iteration: int) -> Batch:
    """Smooth cubes and their rendering, a function of the iteration alone."""
    cube = torch.rand(2, 7, 1, 1, generator=random(iteration)).expand(2, 7, 8, 8) + 0.1
    cube = cube * torch.linspace(0.5, 1, 8)
    return Batch(apply_matrix(camera(), cube), cube, camera().expand(2, -1, -1))


def batches(first: int) -> Iterator[Batch]:
    return (batch(iteration) for iteration in count(first))


def trainer(folder: Path, seed: int = 0, config: TrainConfig = CONFIG) -> Trainer:
    folder.mkdir(exist_ok=True)
    return Trainer(small_model(seed), config, folder)


def silent(iteration: int, value: float) -> None:
    pass


def test_a_resumed_run_equals_a_straight_one_bit_for_bit(tmp_path: Path) -> None:
    straight = trainer(tmp_path / "straight")
    straight.run(batches, silent)
    trainer(tmp_path / "broken").run(lambda first: islice(batches(first), 2), silent)
    resumed = trainer(tmp_path / "broken", seed=99)
    assert resumed.resume()
    assert resumed.iteration == 2
    resumed.run(batches, silent)
    ours, theirs = load_file(resumed.state_path), load_file(straight.state_path)
    assert ours.keys() == theirs.keys()
    assert {name.split(".")[0] for name in ours} == {"model", "average", "optimiser"}
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_a_run_in_bfloat16_resumes_bit_for_bit_too(tmp_path: Path) -> None:
    config = replace(CONFIG, precision="bfloat16")
    straight = trainer(tmp_path / "straight", config=config)
    straight.run(batches, silent)
    trainer(tmp_path / "broken", config=config).run(lambda i: islice(batches(i), 3), silent)
    resumed = trainer(tmp_path / "broken", seed=99, config=config)
    assert resumed.resume()
    resumed.run(batches, silent)
    ours, theirs = load_file(resumed.state_path), load_file(straight.state_path)
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert {value.dtype for value in ours.values()} <= {torch.float32, torch.float64}


def test_bfloat16_is_near_float32_and_leaves_the_lift_alone(tmp_path: Path) -> None:
    plain = Trainer(awake(small_model()), CONFIG, tmp_path)
    rounded = Trainer(awake(small_model()), replace(CONFIG, precision="bfloat16"), tmp_path)
    one, other = (t.model.condition(*batch(0)[::2]) for t in (plain, rounded))
    assert torch.equal(one.lift, other.lift)
    first, second = plain.step(batch(0)), rounded.step(batch(0))
    assert first != second
    assert first == pytest.approx(second, rel=0.02)


def test_the_record_says_nothing_twice_after_a_resume(tmp_path: Path) -> None:
    config = replace(CONFIG, save_every=2)
    killed = trainer(tmp_path, config=config)
    with pytest.raises(KeyboardInterrupt):
        killed.run(batches, lambda i, _: stop() if i == 3 else None)
    resumed = trainer(tmp_path, config=config)
    assert resumed.resume()
    assert resumed.iteration == 2
    resumed.run(batches, silent)
    lines = (tmp_path / "loss.csv").read_text().splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == ["1", "2", "3", "4"]


def stop() -> None:
    raise KeyboardInterrupt


def test_a_loss_that_explodes_stops(tmp_path: Path) -> None:
    watch = Watch(warm_up=0)
    for iteration in range(60):
        watch.look(iteration, 1.0, 1.0, (1, 1))
    watch.look(60, 9.0, 1.0, (1, 1))
    with pytest.raises(Diverged, match="a loss of 30 after 1"):
        watch.look(61, 30.0, 1.0, (1, 1))


def test_a_young_loss_may_jump() -> None:
    watch = Watch(warm_up=0)
    for iteration, loss in enumerate((1.0, 50.0, 0.1, 30.0)):
        watch.look(iteration, loss, 1.0, (1, 1))


def test_an_answer_of_one_value_stops_after_the_warm_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.diagnosis.PATIENCE", 3)
    still = TrainConfig(iterations=20, learning_rate=1e-12, warm_up=2)
    flat = trainer(tmp_path, config=still)
    with pytest.raises(Diverged, match="one value"):
        flat.run(batches, silent)
    assert flat.iteration == 5
    other = Trainer(awake(small_model()), still, tmp_path)
    other.run(batches, silent)
    assert other.iteration == 20


def test_a_batch_is_shared_evenly_or_refused(tmp_path: Path) -> None:
    running = trainer(tmp_path)
    running.rank, running.processes = 1, 2
    part, noise, steps, starts = running._share(batch(3))
    torch.testing.assert_close(part.cube, batch(3).cube[1:])
    running.rank, running.processes = 0, 1
    _, whole, all_steps, all_starts = running._share(batch(3))
    assert torch.equal(noise, whole[1:])
    assert torch.equal(steps, all_steps[1:])
    assert torch.equal(starts, all_starts[1:])
    running.processes = 3
    with pytest.raises(ValueError, match="evenly"):
        running._share(batch(3))


def test_a_crop_at_the_chains_start_is_seen_as_the_sampler_begins_from_zero(
    tmp_path: Path,
) -> None:
    config = replace(CONFIG, from_zero=1.0, gradient_weight=0.0)
    running = Trainer(awake(small_model()), config, tmp_path)
    given, model = batch(0), running.model
    with torch.no_grad():
        one = model.guided(given.rgb, given.sensitivities, 1)(torch.zeros_like(given.cube))
        # In units of the state; what the camera sees has no part in the error.
        expected = ((one - given.cube) / model.deviation).abs().mean()
    assert running.step(given) == pytest.approx(expected.item(), rel=1e-4)


def test_there_is_nothing_to_resume_in_an_empty_folder(tmp_path: Path) -> None:
    assert trainer(tmp_path).resume() is False


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    done = trainer(tmp_path)
    done.run(batches, silent)
    before = load_file(done.state_path)
    done.run(batches, silent)
    assert done.iteration == 4
    assert all(
        torch.equal(value, before[name]) for name, value in load_file(done.state_path).items()
    )


def test_the_state_is_saved_on_the_way(tmp_path: Path) -> None:
    config = TrainConfig(iterations=4, save_every=2)
    seen = []
    running = trainer(tmp_path, config=config)
    running.run(batches, lambda i, value: seen.append((i, running.state_path.exists())))
    assert seen == [(1, False), (2, False), (3, True), (4, True)]
    lines = (tmp_path / "loss.csv").read_text().splitlines()
    assert lines[0] == "iteration,loss,rate,gradient_norm"
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3", "4"]


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_save(tmp_path: Path) -> None:
    broken = trainer(tmp_path)
    broken.step(batch(0))
    broken.save()
    before = load_file(broken.state_path)
    ill = batch(1)._replace(cube=batch(1).cube * math.nan)
    with pytest.raises(FloatingPointError, match="iteration 1"):
        broken.run(lambda first: iter([ill]), silent)
    after = load_file(broken.state_path)
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_a_gradient_that_is_not_finite_changes_no_weight(tmp_path: Path) -> None:
    broken = trainer(tmp_path)
    before = [p.clone() for p in broken.model.parameters()]
    broken.model.denoiser.head.bias.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(FloatingPointError, match="gradient"):
        broken.step(batch(0))
    assert all(map(torch.equal, broken.model.parameters(), before))


def test_noise_and_steps_follow_from_seed_and_iteration(tmp_path: Path) -> None:
    still = TrainConfig(iterations=9, learning_rate=0)
    runs = [Trainer(awake(small_model()), still, tmp_path) for _ in range(2)]
    first, second = ([run.step(batch(0)) for _ in range(3)] for run in runs)
    assert first == second
    assert len(set(first)) == 3


def test_the_average_follows_the_weights_and_is_no_part_of_training(tmp_path: Path) -> None:
    running = trainer(tmp_path)
    start = [p.clone() for p in running.average.parameters()]
    running.step(batch(0))
    pairs = zip(start, running.average.parameters(), running.model.parameters(), strict=True)
    for begun, average, current in pairs:
        torch.testing.assert_close(average, begun.lerp(current.detach(), 1 - 2 / 11))
    assert not any(p.requires_grad for p in running.average.parameters())


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    config = TrainConfig(iterations=100, learning_rate=1.0, warm_up=10)
    rates = [config.rate(i) for i in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == max(rates[8:12])
    assert rates[50] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)


def test_the_loss_falls_where_one_batch_is_learnt_by_heart(tmp_path: Path) -> None:
    config = TrainConfig(iterations=60, learning_rate=1e-2, warm_up=5)
    learner = Trainer(awake(small_model()), config, tmp_path)
    values = [learner.step(batch(0)) for _ in range(60)]
    assert sum(values[-10:]) < 0.5 * sum(values[:10])
