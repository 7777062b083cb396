"""Importance on invented scores, of which it is known what decides."""

from __future__ import annotations

import math
import random
import warnings
from dataclasses import replace

import numpy as np
import optuna
import pytest
from toys import invented_trials, toy_space

from cnn_tuner.analysis.importance import importances, is_best, measured, standings
from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.runs.records import Epoch, Trial
from cnn_tuner.terminal import importance_table

ACCURACY = Objective("val_accuracy", "max")
SPACE = toy_space("""
description: For tests.
blocks: [1, 2]
block:
  filters: [8, 16, 32]
  padding: [same, valid]
dense: {layers: [0, 1], units: [16, 32]}
training:
  learning_rate: {min: 1e-4, max: 1e-2, sampling: log}
""")


def learning_rate_decides(values):
    return 0.3 * (values["block_1.filters"] == 32) - abs(math.log10(values["learning_rate"] / 1e-3))


def hyperband(number):
    return (1, 1, 1, 1, 1, 1, 3, 3, 9)[number % 9]


def trial(*scores: float, number: int = 1, status: str = "completed", name: str = "val_accuracy") -> Trial:
    """A trial with these scores, one an epoch."""
    values = SPACE.sample(random.Random(number))
    told = tuple(Epoch(n, {name: score}, 0.1) for n, score in enumerate(scores, 1))
    return Trial(number, values, 0, 100, 1000, status, max(scores, default=None), epochs=told)


def shares(found):
    return {each.name: each.share for each in found.hyperparameters}


@pytest.mark.parametrize("epochs", [lambda number: 3, hyperband], ids=["alike", "hyperband"])
def test_what_decides_comes_first_then_what_matters_a_little(epochs):
    found = importances(invented_trials(SPACE, learning_rate_decides, 60, epochs), SPACE, ACCURACY)
    first, second, *rest = found.hyperparameters
    assert (first.name, second.name) == ("learning_rate", "block_1.filters")
    assert first.share > 2 * second.share
    assert all(each.share < 0.1 for each in rest)
    assert first.is_clear and not any(each.is_clear for each in rest)
    assert sum(shares(found).values()) == pytest.approx(1)
    assert (found.trials, found.best, found.reason) == (60, 15, "")


def test_the_best_values_are_those_of_the_best_trials():
    found = {e.name: e for e in importances(invented_trials(SPACE, learning_rate_decides, 60), SPACE, ACCURACY).clear}
    low, high = found["learning_rate"].best
    assert 2e-4 < low < 1e-3 < high < 5e-3
    assert found["learning_rate"].is_range


def test_a_conditional_hyperparameter_counts_where_it_is_active():
    def score(values):
        return float(values.get("block_2.filters", 0) == 16) + 1e-3 * values["learning_rate"]

    found = importances(invented_trials(SPACE, score, 60), SPACE, ACCURACY)
    first = found.hyperparameters[0]
    assert (first.name, first.best[0], first.is_clear) == ("block_2.filters", 16, True)
    assert 20 < first.trials < 40
    # That there is a second block is worth something too; how wide the first is, is not.
    assert shares(found)["blocks"] > 5 * shares(found)["block_1.filters"]


@pytest.mark.slow
def test_where_nothing_matters_hardly_anything_is_clear():
    rng = random.Random(1)
    clear = [
        importances(invented_trials(SPACE, lambda _: rng.random(), 24, seed=s), SPACE, ACCURACY).clear
        for s in range(20)
    ]
    assert sum(map(bool, clear)) <= 3, "a few of many hyperparameters by chance"


def test_how_long_a_trial_was_trained_does_not_matter():
    """Where only chance decides how long a trial goes on, those that went on are not the best for that."""
    trials = invented_trials(SPACE, learning_rate_decides, 60, hyperband)
    best = [each for each, is_one in zip(trials, is_best(trials, ACCURACY), strict=True) if is_one]
    by_score = sorted(trials, key=lambda t: -t.score)[: len(best)]
    assert sum(len(each.epochs) for each in by_score) > 2 * sum(len(each.epochs) for each in best)
    assert np.mean([abs(math.log10(t.values["learning_rate"] / 1e-3)) for t in best]) < 0.35


def test_the_same_trials_give_the_same_figures_and_touch_no_global_state():
    trials = invented_trials(SPACE, learning_rate_decides, 20)
    states, verbosity = (random.getstate(), np.random.get_state()[1].tolist()), optuna.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = importances(trials, SPACE, ACCURACY)
    assert first == importances(trials, SPACE, ACCURACY)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    assert optuna.logging.get_verbosity() == verbosity


def test_optuna_is_quiet(capfd):
    importances(invented_trials(SPACE, learning_rate_decides, 12), SPACE, ACCURACY)
    assert capfd.readouterr() == ("", "")


def test_each_pair_is_compared_at_the_last_epoch_that_both_reached():
    trials = [trial(0.5), trial(0.4, 0.9), trial(0.6, 0.7, 0.8)]
    # The second is behind both after an epoch, and ahead of the third after two.
    assert standings(trials, ACCURACY).tolist() == [0.5, 0.5, 0.5]
    assert standings([trial(0.3), *trials[1:]], ACCURACY).tolist() == [0.0, 1.0, 0.5]


def test_a_score_that_was_reached_stays():
    assert standings([trial(0.9, 0.2), trial(0.5, 0.6)], ACCURACY).tolist() == [1.0, 0.0]


def test_a_tie_counts_half():
    assert standings([trial(0.5), trial(0.5), trial(0.1)], ACCURACY).tolist() == [0.75, 0.75, 0.0]


def test_of_a_loss_the_smallest_is_the_best():
    trials = [trial(loss, name="val_loss") for loss in (0.3, 0.1, 0.2)]
    assert standings(trials, Objective("val_loss", "min")).tolist() == [0.0, 1.0, 0.5]


def test_trials_that_stand_equal_are_all_among_the_best():
    trials = [trial(score) for score in (0.9,) * 7 + (0.5,) * 5]
    assert is_best(trials, ACCURACY).tolist() == [True] * 7 + [False] * 5


def test_failed_unmeasured_and_foreign_trials_are_left_out():
    good, foreign = trial(0.5, 0.6), trial(0.5)
    others = [trial(0.9, status="failed"), trial(status="stopped"), replace(foreign, values={"blocks": 9})]
    assert measured([good, *others], SPACE, ACCURACY) == [good]
    running = trial(0.7, status="running")
    assert measured([running], SPACE, ACCURACY) == [running]


def test_too_few_trials_are_a_reason():
    found = importances(invented_trials(SPACE, learning_rate_decides, 9), SPACE, ACCURACY)
    assert (found.hyperparameters, found.trials) == ((), 9)
    assert importance_table.headline(found) == (
        "what mattered: too few trials to tell: 9 with a score, at least 10 are needed"
    )


def test_equal_scores_are_a_reason():
    found = importances(invented_trials(SPACE, lambda _: 0.5, 12), SPACE, ACCURACY)
    assert found.reason == "no telling: the scores of the 12 trials differ too little"


def test_a_space_without_choices_has_nothing_that_matters():
    fixed = toy_space("description: One point.\nblock: {filters: 8}\n")
    rng = random.Random(0)
    found = importances(invented_trials(fixed, lambda _: rng.random(), 12), fixed, ACCURACY)
    assert (found.hyperparameters, found.reason) == ((), "the search space leaves nothing to choose")


def test_nothing_clear_is_one_line():
    rng = random.Random(1)
    found = importances(invented_trials(SPACE, lambda _: rng.random(), 12), SPACE, ACCURACY)
    assert importance_table.headline(found) == "what mattered: nothing that is clearly more than chance in 12 trials"


def test_the_table_has_shares_bars_and_the_best_values():
    found = importances(invented_trials(SPACE, learning_rate_decides, 60), SPACE, ACCURACY)
    table = importance_table.table(found)
    names, percents, bars, values, doubts = ([*column.cells] for column in table.columns)
    assert names[0] == "learning_rate"
    assert len(names) <= importance_table.ROWS
    assert len(bars[0]) == round(20 * found.hyperparameters[0].share)
    assert percents[0] == f"{found.hyperparameters[0].share:.0%}"
    assert " to " in values[0]
    assert values[1].startswith("32")
    assert (doubts[0], doubts[-1]) == ("", "may be chance")
