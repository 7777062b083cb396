"""Which trials are trained to the end, and which of them wins: the most accurate, or the smallest about as good.

For the latter the one-standard-error rule (Breiman et al., 1984, "Classification and Regression Trees", section 3.4.3):
of models whose scores a standard error does not tell apart, the simplest.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np

from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.runs.records import Finalist, Prefer, Trial, ranked


def standard_error(objective: Objective, score: float, images: int) -> float | None:
    """How far a score may be off because so many validation images are a sample of all; None where that is not known.

    Known for an accuracy, a share of images (one success and one failure added, so that 1.0 is not taken for certain).
    """
    if objective.metric != "accuracy":
        return None
    share = (score * images + 1) / (images + 2)
    return math.sqrt(share * (1 - share) / images)


def choose_finalists(
    trials: Sequence[Trial], objective: Objective, val_images: int, most: int, prefer: Prefer = "accurate"
) -> list[Trial]:
    """At most `most` trials to be trained to the end, the best first.

    With `prefer` "small", after it come the smaller ones whose score is within one standard error of the best, from
    the best of them on, each smaller than those before; then the next best.
    """
    order = [trial for trial in ranked(trials, objective) if trial.score is not None]
    if not order or prefer == "accurate":
        return order[:most]
    error = standard_error(objective, float(order[0].score or 0.0), val_images) or 0.0
    chosen = order[:1]
    for trial in order[1:]:
        if trial.params < chosen[-1].params and _gap(objective, order[0].score, trial.score) <= error:
            chosen.append(trial)
    rest = [trial for trial in order if trial not in chosen]
    return [*chosen, *rest][:most]


def choose_winner(
    finalists: Sequence[Finalist],
    objective: Objective,
    val_images: int,
    prefer: Prefer = "accurate",
    outcomes: Callable[[Finalist], np.ndarray | None] = lambda finalist: None,
) -> Finalist:
    """The best of the finalists by their mean score; with `prefer` "small" the smallest that is about as good.

    `outcomes` are what each validation image adds to a finalist's score, the more the better. As good is who is worse
    than the best on the same images by no more than one standard error of the difference: most images are as hard for
    both, so that a comparison in pairs tells apart what two scores do not. Where outcomes are not known, who is within
    one standard error of the best mean: that of its mean over its seeds, or that of the validation part where it is
    larger.
    """
    best = _best(finalists, objective)
    if prefer == "accurate" or len(finalists) == 1:
        return best
    error, of_best = winning_margin(best, objective, val_images), outcomes(best)

    def is_near(other: Finalist) -> bool:
        of_other = None if of_best is None or other is best else outcomes(other)
        if of_best is None or of_other is None:
            return _gap(objective, best.mean, other.mean) <= error
        worse = of_best - of_other
        return float(worse.mean()) <= float(worse.std()) / math.sqrt(len(worse))

    near = [each for each in finalists if is_near(each)]
    smallest = min(each.params for each in near)
    return _best([each for each in near if each.params == smallest], objective)


def winning_margin(best: Finalist, objective: Objective, val_images: int) -> float:
    """One standard error of the best finalist's score."""
    of_seeds = statistics.stdev(best.scores) / math.sqrt(len(best.scores)) if len(best.scores) > 1 else 0.0
    return max(of_seeds, standard_error(objective, best.mean, val_images) or 0.0)


def _best(finalists: Sequence[Finalist], objective: Objective) -> Finalist:
    sign = -1 if objective.direction == "max" else 1
    return min(finalists, key=lambda each: (sign * each.mean, each.val_loss, each.params, each.trial))


def _gap(objective: Objective, best: float | None, other: float | None) -> float:
    """By how much `other` is worse."""
    difference = float(best or 0.0) - float(other or 0.0)
    return difference if objective.direction == "max" else -difference
