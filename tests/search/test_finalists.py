"""Which trials are trained to the end, and which of them wins, on invented scores."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.runs.records import Epoch, Finalist, Trial
from cnn_tuner.search.finalists import choose_finalists, choose_winner, standard_error, winning_margin

ACCURACY, LOSS = Objective("val_accuracy", "max"), Objective("val_loss", "min")
AUC = Objective("val_auc", "max")


def trials(*found: tuple[float | None, int]) -> list[Trial]:
    """Trials 1, 2, ... by score and parameters."""
    return [Trial(n, {}, n, params, 0, "completed", score) for n, (score, params) in enumerate(found, start=1)]


def numbers(chosen: list[Trial]) -> list[int]:
    return [trial.number for trial in chosen]


def finalists(*found: tuple[int, tuple[float, ...]]) -> list[Finalist]:
    return [Finalist(n, params, scores[0], scores) for n, (params, scores) in enumerate(found, start=1)]


def test_the_error_of_an_accuracy_is_that_of_a_share():
    assert standard_error(ACCURACY, 0.8, 10_000) == pytest.approx(math.sqrt(0.8 * 0.2 / 10_000), rel=1e-3)
    assert standard_error(Objective("val_accuracy", "max"), 0.5, 100) == pytest.approx(0.05, rel=1e-3)


def test_of_equally_accurate_finalists_the_surest_wins():
    small, sure = finalists((100, (0.9, 0.8)), (500, (0.8, 0.9)))
    found = [replace(small, val_loss=0.3), replace(sure, val_loss=0.2)]
    assert choose_winner(found, ACCURACY, 1000).trial == 2
    assert choose_winner([small, sure], ACCURACY, 1000).trial == 1, "else the smaller one"


@pytest.mark.parametrize("images", [30, 1000])
def test_an_accuracy_of_one_is_not_taken_for_certain(images):
    error = standard_error(ACCURACY, 1.0, images)
    assert 0 < error < 2 / images, "about as much as one image more or less"
    assert error == pytest.approx(standard_error(ACCURACY, 0.0, images))


@pytest.mark.parametrize("objective", [LOSS, AUC, Objective("val_mae", "min")], ids=lambda o: o.name)
def test_of_other_objectives_the_error_is_not_known(objective):
    assert standard_error(objective, 0.9, 100) is None


def test_where_small_is_preferred_the_best_comes_first_then_smaller_ones_within_an_error_then_the_next_best():
    # 100 images: one standard error at 0.90 is about 0.03
    found = trials((0.90, 500), (0.895, 900), (0.88, 300), (0.875, 400), (0.872, 100), (0.80, 10), (0.899, 500))
    assert numbers(choose_finalists(found, ACCURACY, 100, 4, "small")) == [1, 3, 5, 7]
    assert numbers(choose_finalists(found, ACCURACY, 100, 2, "small")) == [1, 3]
    assert numbers(choose_finalists(found, ACCURACY, 100, 99, "small")) == [1, 3, 5, 7, 2, 4, 6]


def test_with_many_images_only_scores_that_are_really_close_count():
    found = trials((0.90, 500), (0.88, 300), (0.8995, 400))
    assert numbers(choose_finalists(found, ACCURACY, 100, 3, "small")) == [1, 3, 2]
    assert numbers(choose_finalists(found, ACCURACY, 100_000, 2)) == [1, 3]
    assert numbers(choose_finalists(found[:2], ACCURACY, 100_000, 2)) == [1, 2], "as the next best"


def test_a_smaller_trial_far_below_does_not_come_before_the_next_best():
    found = trials((0.90, 500), (0.70, 5), (0.89, 600))
    assert numbers(choose_finalists(found, ACCURACY, 10_000, 2)) == [1, 3]


def test_of_a_loss_the_least_is_the_best_and_only_equals_are_not_told_apart():
    found = trials((0.30, 500), (0.25, 900), (0.25, 400), (0.26, 10))
    assert numbers(choose_finalists(found, LOSS, 100, 3)) == [3, 2, 4]


def test_of_equals_the_smaller_is_the_best_and_of_those_the_earlier():
    found = trials((0.9, 500), (0.9, 300), (0.9, 300))
    assert numbers(choose_finalists(found, ACCURACY, 100, 3)) == [2, 3, 1]


@pytest.mark.parametrize("most", [1, 3])
def test_one_trial_is_the_only_finalist(most):
    assert numbers(choose_finalists(trials((0.5, 10)), ACCURACY, 100, most)) == [1]
    assert numbers(choose_finalists(trials((0.5, 10), (None, 5)), ACCURACY, 100, most)) == [1]


def test_without_a_score_nobody_is_a_finalist():
    assert choose_finalists(trials((None, 10), (None, 20)), ACCURACY, 100, 3) == []


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_score_of_nothing_is_a_score(score):
    assert numbers(choose_finalists(trials((score, 10), (None, 5)), LOSS, 100, 3)) == [1]


@pytest.mark.parametrize("seed", range(5))
def test_finalists_are_different_trials_and_the_best_is_always_one(seed):
    rng = random.Random(seed)
    found = trials(*((round(rng.random(), 2), rng.randint(1, 50)) for _ in range(30)))
    for most in (1, 3, 50):
        chosen = choose_finalists(found, ACCURACY, 50, most)
        assert len({trial.number for trial in chosen}) == len(chosen) == min(most, 30)
        assert chosen[0].score == max(trial.score for trial in found)


def test_the_most_accurate_wins_unless_small_is_preferred():
    found = finalists((500, (0.90, 0.92)), (300, (0.905, 0.905)))
    assert choose_winner(found, ACCURACY, 100).trial == 1
    assert choose_winner(found, ACCURACY, 100, "small").trial == 2


def test_finalists_are_the_best_and_of_equals_those_that_are_surest_unless_small_is_preferred():
    found = trials((0.90, 500), (0.88, 300), (0.89, 900), (0.89, 400))
    assert numbers(choose_finalists(found, ACCURACY, 100, 3)) == [1, 4, 3]
    surer = replace(found[2], epochs=(Epoch(1, {"val_loss": 0.2}, 1.0),))
    less = replace(found[3], epochs=(Epoch(1, {"val_loss": 0.3}, 1.0),))
    assert numbers(choose_finalists([*found[:2], surer, less], ACCURACY, 100, 3)) == [1, 3, 4]


def test_the_smallest_within_one_standard_error_of_the_best_mean_wins():
    found = finalists((500, (0.90, 0.92)), (300, (0.89, 0.89)), (100, (0.80, 0.80)))
    assert choose_winner(found, ACCURACY, 100, "small").trial == 2
    assert choose_winner(found, ACCURACY, 1000, "small").trial == 1
    assert choose_winner(found, ACCURACY, 5, "small").trial == 3, "five images tell nothing apart"


def right(share: float, start: int = 0) -> np.ndarray:
    """1 for this share of 1000 images, from `start` on, 0 for the others."""
    found = np.zeros(1000)
    found[np.arange(start, start + round(share * 1000)) % 1000] = 1
    return found


@pytest.mark.parametrize(
    ("outcomes", "winner"),
    [
        ({1: right(0.90), 2: right(0.895)}, 1),  # wrong on five images more, and right on none more
        ({1: right(0.90), 2: right(0.895, 100)}, 2),  # each is right where the other is wrong a hundred times
        ({1: right(0.90), 2: right(0.90)}, 2),
        ({1: right(0.90), 2: None}, 2),  # within one standard error of 1000 images, 0.0095
        ({1: None, 2: right(0.895)}, 2),
        ({1: -right(0.10), 2: -right(0.12)}, 1),  # of errors
    ],
)
def test_the_smaller_one_wins_where_the_same_images_show_no_difference(outcomes, winner):
    found = finalists((500, (0.90,)), (300, (0.895,)))
    assert choose_winner(found, ACCURACY, 1000, "small", lambda each: outcomes[each.trial]).trial == winner
    assert choose_winner(found, ACCURACY, 1000, "accurate", lambda each: outcomes[each.trial]).trial == 1


def test_the_margin_is_that_of_the_seeds_where_they_differ_more_than_images_explain():
    [best] = finalists((500, (0.90, 0.94)))
    assert winning_margin(best, ACCURACY, 1_000_000) == pytest.approx(0.02)
    assert winning_margin(best, ACCURACY, 100) == pytest.approx(standard_error(ACCURACY, 0.92, 100))
    assert winning_margin(best, AUC, 100) == pytest.approx(0.02)
    near = finalists((500, (0.90, 0.94)), (100, (0.905,)))
    assert choose_winner(near, AUC, 100, "small").trial == 2
    assert choose_winner(finalists((500, (0.90, 0.94)), (100, (0.89,))), AUC, 100, "small").trial == 1


def test_with_one_seed_and_no_known_error_the_best_mean_wins():
    [best, other] = finalists((500, (0.20,)), (100, (0.201,)))
    assert winning_margin(best, LOSS, 100) == 0.0
    assert choose_winner([best, other], LOSS, 100, "small") is best
    assert choose_winner([other, best], LOSS, 100, "small") is best


def test_a_loss_is_won_by_the_smallest_near_the_least():
    found = finalists((500, (0.20, 0.24)), (100, (0.235, 0.235)), (50, (0.30, 0.30)))
    assert choose_winner(found, LOSS, 100, "small").trial == 2


def test_near_one_a_single_image_more_does_not_buy_a_larger_model():
    found = finalists((5000, (1.0,)), (400, (0.997,)), (300, (0.95,)))
    assert choose_winner(found, ACCURACY, 300, "small").trial == 2


def test_of_equally_small_ones_the_better_wins_and_of_equals_the_earlier():
    assert choose_winner(finalists((9, (0.90,)), (9, (0.91,))), ACCURACY, 100).trial == 2
    assert choose_winner(finalists((9, (0.90,)), (9, (0.90,))), ACCURACY, 100).trial == 1


def test_one_finalist_wins():
    [only] = finalists((9, (0.4, 0.6)))
    assert choose_winner([only], ACCURACY, 100) is only
    assert only.mean == pytest.approx(0.5)
    assert only.spread == pytest.approx(math.sqrt(0.02))
    assert finalists((9, (0.4,)))[0].spread is None
