"""The pieces of benchmarks/replay.py that could be wrong without anybody seeing it."""

from __future__ import annotations

import gzip
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from toys import SPACE, toy_space

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import replay as replay_module
import surrogate
from replay import MOMENTS, Replay, Setting, Task, at_moments, incumbents, replay, rows
from surrogate import Training, World, read, smoothed

EPOCHS = 9


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    """Curves that the learning rate decides."""
    file, rng, space = tmp_path_factory.mktemp("curves") / "curves.json.gz", random.Random(0), toy_space()
    rows = []
    for _ in range(60):
        point = space.sample(rng)
        best = 0.5 + 0.15 * np.log(point["learning_rate"] / 0.003)
        curve = [best * (1 - 0.5**epoch) + rng.gauss(0, 0.002) for epoch in range(1, EPOCHS + 1)]
        rows.append({"values": point, "val_accuracy": curve, "seconds": [2.0] * EPOCHS, "setup_seconds": 1.0})
    facts = {"space": SPACE, "image_shape": [8, 8, 1], "classes": 4, "epochs": EPOCHS, "about": "toy", "points": rows}
    file.write_bytes(gzip.compress(json.dumps(facts).encode()))
    return World(read(file), fail_share=0.2)


def training(score: float, epoch_seconds: float = 1.0, setup_seconds: float = 0.0, fails: bool = False) -> Training:
    curve = score * np.arange(1, EPOCHS + 1) / EPOCHS
    return Training(curve, curve + 0.01, epoch_seconds, setup_seconds, fails)


class Scripted:
    """Hands out full trainings of these scores, each with its seconds an epoch; None once is a wait."""

    tells_each_epoch = False

    def __init__(self, *asked: tuple[float, float] | None) -> None:
        self.asked, self.ended = list(asked), []

    def ask(self) -> Task | None:
        if not self.asked or self.asked[0] is None:
            self.asked = self.asked[1:]
            return None
        score, seconds = self.asked.pop(0)
        return Task(score, (("score", score),), training(score, seconds), 0, EPOCHS)

    def told(self, task: Task, epoch: int) -> bool:
        self.ended.append((task.handle, epoch))
        return False


def test_the_mean_is_the_one_that_scikit_learn_predicts():
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(5, 2, (40, 6)), rng.normal(1, 0.3, (40, 2))
    targets += inputs[:, :2]
    process = surrogate.Process(inputs, targets)
    whitened, scaled = (inputs - inputs.mean(0)) / inputs.std(0), (targets - targets.mean(0)) / targets.std(0)
    known = GaussianProcessRegressor(process._kernel, optimizer=None, alpha=process.noise).fit(whitened, scaled)
    np.testing.assert_allclose(process.predict(inputs), known.predict(whitened) * targets.std(0) + targets.mean(0))


def test_a_point_always_trains_alike_and_a_share_of_them_fails(world):
    points = [world.table.space.sample(random.Random(seed)) for seed in range(200)]
    first, again = ([world.train(point) for point in points] for _ in range(2))
    assert all((a.observed == b.observed).all() and a.fails == b.fails for a, b in zip(first, again, strict=True))
    assert 20 <= sum(each.fails for each in first) <= 60
    known = [each for each in first if not each.fails]
    bests = world.bests([p for p, each in zip(points, first, strict=True) if not each.fails])
    np.testing.assert_allclose(bests, [each.true.max() for each in known])


def test_the_surrogate_has_learned_what_decides_the_curves(world, monkeypatch):
    last = next(each for each in world.quality if each.epoch == EPOCHS)
    assert last.r2 > 0.8
    assert last.tau > 0.7
    for name, few in {"RANDOM_POINTS": 300, "STEPS": 4, "NEIGHBOURS": 5}.items():
        monkeypatch.setattr(surrogate, name, few)
    assert world.best() >= max(world.bests(world.table.points)) - 0.005


def test_a_running_mean_keeps_a_constant_and_takes_noise_away():
    np.testing.assert_allclose(smoothed(np.full(27, 0.3)), 0.3)
    assert np.abs(smoothed(np.resize([1.0, -1.0], 27))).max() < 0.25


def test_a_worker_is_given_work_when_it_has_ended_and_waiting_is_idle():
    player = Scripted((0.5, 1.0), (0.6, 2.0), None, (0.7, 1.0))
    run = replay(player, 2, limit=30.0, seed=0)
    slow = {task.handle: task.slowness for task in run.tasks}
    ends = {0.5: 9 * slow[0.5], 0.6: 18 * slow[0.6]}
    assert [score for score, _ in player.ended][:2] == sorted(ends, key=ends.get)
    first = min(ends.values())
    third = next(task for task in run.tasks if task.handle == 0.7)
    assert third.began in ends.values(), "at the end of a task, not before"
    assert run.idle > 0
    assert run.reached == 30.0
    assert third.began >= first


def test_one_worker_that_always_works_is_never_idle():
    run = replay(Scripted(*[(0.5, 1.0)] * 9), 1, limit=30.0, seed=0)
    assert (run.idle, len(run.tasks)) == (0.0, 4)
    assert [task.began for task in run.tasks] == [0.0, 9.0, 18.0, 27.0]


def test_the_incumbent_is_the_best_observed_and_counted_by_its_true_best():
    good, better, failed = training(0.45), training(0.9), training(1.0, fails=True)
    tasks = [Task(n, (), each, 0, EPOCHS, began=9.0 * n) for n, each in enumerate((good, failed, better))]
    when, true = incumbents(Replay(100.0, 1, tasks, reached=21.0))
    np.testing.assert_allclose(true, [0.46] * 9, err_msg="3 epochs of the better one have not beaten the first yet")
    when, true = incumbents(Replay(100.0, 1, tasks, reached=100.0))
    np.testing.assert_allclose(true, [0.46] * 9 + [0.91] * 5 - np.zeros(14), atol=1e-9)
    np.testing.assert_allclose(when, [*range(1, 10), *range(23, 28)])


def test_at_moments_nothing_is_known_before_the_first_epoch_and_after_the_end():
    found = at_moments(Replay(100.0, 1, [Task(0, (), training(0.45), 0, EPOCHS, began=1.0)], reached=50.0))
    assert np.isnan(found[0])
    assert found[2] == pytest.approx(0.46)
    assert np.isnan(found[MOMENTS > 0.5]).all()


def outcome(player: str, seed: int, bests: np.ndarray) -> replay_module.Outcome:
    return replay_module.Outcome(player, Setting(1, 10), seed, bests, bests[-1], 1.0, 1.0, 5, 0.1)


def test_of_the_finalists_the_truly_best_counts_and_only_of_those_that_were_observed_best():
    scores = [0.9, 0.5, 0.8, 0.7, 0.95]
    tasks = [Task(n, (("n", n),), training(score), 0, EPOCHS) for n, score in enumerate(scores)]
    lucky = replace(tasks[0].training, true=np.full(EPOCHS, 0.1))
    tasks[0] = replace(tasks[0], training=lucky)
    tasks[4] = replace(tasks[4], training=training(0.95, fails=True))
    assert replay_module.finalists(Replay(100.0, 5, tasks, reached=100.0)) == pytest.approx(0.81)
    assert np.isnan(replay_module.finalists(Replay(100.0, 5, tasks, reached=0.1)))


def test_rows_tell_when_random_searchs_last_regret_is_reached():
    slow, fast = np.where(MOMENTS < 0.9, 0.5, 0.8), np.where(MOMENTS < 0.3, 0.5, 0.85)
    outcomes = [outcome(name, seed, b) for name, b in (("random", slow), ("asha tpe", fast)) for seed in range(3)]
    random_row, asha_row = rows(outcomes, best=0.9)
    assert random_row.sooner == pytest.approx(0.9)
    assert asha_row.sooner == pytest.approx(0.3)
    assert [mid for _, mid, _ in asha_row.quartiles] == pytest.approx([40.0, 5.0, 5.0])
    assert asha_row.seeds == 3


@pytest.mark.parametrize("player", ["random", "hyperband", "asha random", "asha tpe"])
def test_an_oracle_is_played_to_the_limit_without_idleness(world, player):
    found = replay_module.played(world, player, Setting(3, 4.0), 0, world.full_seconds(50))
    assert found.training_share == 1.0
    assert found.reached == 1.0
    assert found.bests[-1] > 0.75
    assert found.points >= 10


def test_a_run_whose_driver_takes_too_long_says_how_far_it_came(world):
    found = replay_module.played(world, "asha tpe", Setting(3, 50.0, most_seconds=0.05), 0, world.full_seconds(50))
    assert found.reached < 1.0
    assert np.isnan(found.bests[-1])


def test_key_of_a_point_leaves_an_oracles_own_values_out():
    assert surrogate.key_of({"b": 1, "a": "x", "tuner/epochs": 3}) == (("a", "x"), ("b", 1))
