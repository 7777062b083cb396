"""Samplers: new feasible points, seeded, learned from evidence that does not grow."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from oracles.test_asha import asked
from oracles.test_contract import OUTPUT, end, make, score_of
from toys import SPACE, TIGHT_SPACE, toy_space

from cnn_tuner.oracles import asha, registry, samplers, tpe
from cnn_tuner.oracles.samplers import Evidence
from cnn_tuner.spaces.architecture import why_infeasible

EVERY = pytest.mark.parametrize("name", samplers.SAMPLERS)


def oracle_with(sampler: str, text: str = SPACE, seed: int = 0):
    return registry.create("asha", replace(make("asha", text, None, 9, seed).search, sampler=sampler))


def points_of(sampler: str, text: str = SPACE, seed: int = 0, count: int = 60, score=score_of) -> list[dict]:
    """The new points of a search whose every trial ends at once."""
    oracle, found = oracle_with(sampler, text, seed), []
    while len(found) < count:
        trial = asked(oracle)
        point = {n: v for n, v in trial.hyperparameters.values.items() if not n.startswith("tuner/")}
        if trial.hyperparameters.values["tuner/round"] == 0:
            found.append(point)
        end(oracle, trial, score(point))
    return found


def evidence_of(good: list[dict], bad: list[dict]) -> Evidence:
    results = round(len(good) / tpe.GOOD_SHARE)
    others = {f"bad-{n}": point for n, point in enumerate(bad)}
    return Evidence(max(results, tpe.LEAST_RESULTS), {f"good-{n}": point for n, point in enumerate(good)}, others)


def proposals(text: str, good, bad, is_new=lambda point: True, count: int = 40) -> list[dict]:
    """What the model proposes by itself, without its share of random points."""
    sampler, evidence = tpe.TPESampler(toy_space(text)), evidence_of(good, bad)
    found = (sampler.propose(lambda: evidence, is_new, random.Random(seed)) for seed in range(3 * count))
    return [point for point in found if point is not None][:count]


def drawn(text: str, count: int, keep=lambda point: True, seed: int = 0) -> list[dict]:
    space, rng = toy_space(text), random.Random(seed)
    return [point for point in (space.sample(rng) for _ in range(20 * count)) if keep(point)][:count]


@EVERY
@pytest.mark.parametrize("text", [SPACE, TIGHT_SPACE], ids=["half", "tight"])
def test_points_are_feasible_of_the_space_and_none_comes_twice(name, text):
    points = points_of(name, text, score=lambda point: point["block_1.filters"] / 10)
    space = toy_space(text)
    why = why_infeasible(space, (8, 8, 1), OUTPUT)
    assert all(space.contains(point) and why(point) is None for point in points)
    assert len({tuple(sorted(point.items())) for point in points}) == len(points)


@EVERY
def test_the_same_seed_gives_the_same_points_and_another_gives_others(name):
    assert points_of(name, seed=0) == points_of(name, seed=0)
    assert points_of(name, seed=0) != points_of(name, seed=1)


@EVERY
def test_global_random_generators_are_left_alone(name):
    random.seed(5)
    np.random.seed(5)
    states = random.getstate(), np.random.get_state()[1].tolist()
    points_of(name, seed=1, count=30)  # for seed 0 KerasTuner draws one of its own
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states


def test_tpe_finds_better_points_than_random():
    def best_quarter(name):
        scores = [score_of(p) for seed in range(3) for p in points_of(name, seed=seed, count=80)[40:]]
        return float(np.mean(scores))

    assert best_quarter("tpe") > best_quarter("random") + 0.05


def test_before_there_is_enough_evidence_points_are_random():
    sampler, point = tpe.TPESampler(toy_space()), {"good": drawn(SPACE, 1)[0]}
    for results, is_random in ((tpe.LEAST_RESULTS - 1, True), (tpe.LEAST_RESULTS, False)):
        evidence = Evidence(results, point, {})
        found = [sampler.propose(lambda e=evidence: e, lambda point: True, random.Random(n)) for n in range(20)]
        assert (set(map(type, found)) == {type(None)}) is is_random


def test_proposals_resemble_the_good_and_not_the_bad():
    def is_good(point):
        return point["block_1.filters"] == 4 and point["learning_rate"] < 0.008

    found = proposals(SPACE, drawn(SPACE, 12, is_good), drawn(SPACE, 60, lambda p: not is_good(p)))
    assert sum(map(is_good, found)) > 0.8 * len(found)
    assert len(found) == 40


def test_what_failed_or_runs_is_avoided():
    good = drawn(SPACE, 12)
    crowded = drawn(SPACE, 60, lambda point: point["batch_size"] == 32)
    found = proposals(SPACE, good, crowded)
    assert sum(point["batch_size"] == 16 for point in found) > 0.8 * len(found)


def test_failed_and_running_trials_are_evidence():
    oracle = oracle_with("tpe")
    failed, running, good = asked(oracle), asked(oracle), asked(oracle)
    end(oracle, failed, None)
    end(oracle, good, 0.9)
    evidence = oracle._evidence()
    assert evidence.results == 2
    assert list(evidence.best.values()) == [good.hyperparameters.values]
    others = [point["learning_rate"] for point in evidence.others.values()]
    assert sorted(others) == sorted(t.hyperparameters.values["learning_rate"] for t in (failed, running))


def test_higher_rungs_are_better_evidence_and_a_point_counts_once():
    oracle = oracle_with("tpe")
    trials = [asked(oracle) for _ in range(6)]
    for trial, score in zip(trials, (0.9, 0.8, 0.7, 0.6, 0.5, 0.4), strict=True):
        end(oracle, trial, score)
    for score in (0.2, 0.3):  # the second is the better one after more epochs
        end(oracle, asked(oracle), score)
    rates = [trial.hyperparameters.values["learning_rate"] for trial in trials]
    evidence = oracle._evidence()
    found = [point["learning_rate"] for point in evidence.best.values()]
    assert found == [rates[1], rates[0], *rates[2:]]
    assert not evidence.others


@pytest.mark.parametrize("value", [0, 1])
def test_conditional_hyperparameters_are_there_when_their_parent_says_so(value):
    found = proposals(SPACE, drawn(SPACE, 12, lambda p: p["dense_layers"] == value), drawn(SPACE, 60))
    assert {point["dense_layers"] for point in found} >= {value}
    space = toy_space()
    assert all(space.contains(point) for point in found)


def test_the_best_candidate_that_is_not_new_gives_way_to_the_next():
    refused = []

    def is_new(point):
        refused.append(point)
        return len(refused) % 5 == 0

    found = proposals(SPACE, drawn(SPACE, 12), drawn(SPACE, 30), is_new, count=3)
    assert found == refused[4:15:5]
    assert proposals(SPACE, drawn(SPACE, 12), drawn(SPACE, 30), lambda point: False) == []


def test_evidence_does_not_grow_with_the_trials(monkeypatch):
    monkeypatch.setattr(asha, "MOST_BEST", 10)
    monkeypatch.setattr(asha, "MOST_OTHERS", 20)
    oracle, sizes = oracle_with("random"), []
    for number in range(150):
        end(oracle, asked(oracle), None if number % 7 == 0 else number % 31 / 31)
        evidence = oracle._evidence()
        sizes.append((len(evidence.best), len(evidence.others)))
    assert max(best for best, _ in sizes) == 10
    assert 10 < max(others for _, others in sizes) <= 20


def test_rows_of_a_grid_lead_back_to_the_point():
    grid, rng = tpe.Grid(toy_space()), random.Random(0)
    for point in drawn(SPACE, 30):
        back = grid.point(grid.row(point), rng)
        assert back.keys() == point.keys()
        assert {n: v for n, v in back.items() if n != "learning_rate"} == {
            n: v for n, v in point.items() if n != "learning_rate"
        }
        assert abs(np.log(back["learning_rate"] / point["learning_rate"])) <= np.log(10) / tpe.BINS


@pytest.mark.parametrize("column", range(len(toy_space().parameters)))
def test_kernels_are_probabilities_highest_at_the_value_that_was_tried(column):
    probabilities = tpe.kernel(toy_space().parameters[column])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    tried = probabilities[:-1]
    assert (tried.argmax(axis=1) == np.arange(len(tried))).all()
    np.testing.assert_allclose(probabilities[-1], 1 / len(tried))
