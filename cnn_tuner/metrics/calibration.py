"""Whether probabilities can be believed: of images with a probability of 0.8, eight of ten should be what is said.

A network's are not, as a rule; dividing the logarithms of all of them by one number, the temperature, mends most of it
and changes no decision: Guo et al., 2017, https://arxiv.org/abs/1706.04599.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15
LEAST_IMAGES = 100  # of fewer a temperature is chance
RANGE = (0.1, 10.0)
TINY = 1e-7  # a probability of 0 has no logarithm


@dataclass(frozen=True)
class Bin:
    """Answers whose probability is about the same: its mean, the share of them that are right, how many they are."""

    probability: float
    right: float
    answers: int


def temperature(task: str, y: np.ndarray, scores: np.ndarray) -> float:
    """The one with which the probabilities of these images fit their labels best; 1 for few images, or a regression.

    Args:
        task: binary, multiclass, multilabel or regression.
        y: labels, as a `Part` holds them, of images that the model was not trained on.
        scores: (N, units), as the last layer gives them.
    """
    if task == "regression" or len(y) < LEAST_IMAGES:
        return 1.0
    from scipy.optimize import minimize_scalar  # takes a moment to load

    def loss(exponent: float) -> float:
        return _loss(task, y, tempered(task, scores, float(np.exp(exponent))))

    found = minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded")
    return float(f"{np.exp(found.x):.4g}")


def tempered(task: str, scores: np.ndarray, by: float) -> np.ndarray:
    """Scores (N, units) as they are at this temperature; those of a regression as they are."""
    if by == 1.0 or task == "regression":
        return scores
    clipped = np.clip(scores.astype(np.float64), TINY, 1 - TINY)
    if task == "multiclass":
        raised = clipped ** (1 / by)
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))
    return np.asarray(1 / (1 + (1 / clipped - 1) ** (1 / by)))


def _loss(task: str, y: np.ndarray, scores: np.ndarray) -> float:
    """The mean negative logarithm of the probability of what is true.

    A label is taken for true by (N + 1) / (N + 2), as by Platt, 1999: of a model that was right of all images nobody
    knows that it always is.
    """
    clipped, doubt = np.clip(scores, TINY, 1 - TINY), 1 / (len(y) + 2)
    if task == "multiclass":
        right = np.log(clipped[np.arange(len(y)), y.astype(int)])
        wrong = (np.log(clipped).sum(axis=1) - right) / max(1, scores.shape[1] - 1)
    else:
        right = np.log(np.where(y > 0.5, clipped, 1 - clipped))
        wrong = np.log(np.where(y > 0.5, 1 - clipped, clipped))
    return float(-((1 - doubt) * right + doubt * wrong).mean())


def reliability(task: str, y: np.ndarray, scores: np.ndarray) -> list[Bin]:
    """How often answers of about a probability are right, from the least sure to the surest; nothing of a regression.

    The answer of a binary or multiclass image is its class; of several labels, each is one: whether it is there.
    """
    if task == "regression":
        return []
    if task == "multiclass":
        sure, right = scores.max(axis=1), scores.argmax(axis=1) == y.astype(int)
    else:
        sure = np.maximum(scores, 1 - scores).reshape(-1)
        right = ((scores > 0.5) == (y > 0.5)).reshape(-1)
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    return [
        Bin(float(sure[bins == each].mean()), float(right[bins == each].mean()), int((bins == each).sum()))
        for each in range(BINS)
        if (bins == each).any()
    ]


def error(bins: list[Bin]) -> float:
    """The expected calibration error: by how much probability and share of right answers differ, in the mean."""
    answers = sum(each.answers for each in bins)
    return sum(each.answers * abs(each.probability - each.right) for each in bins) / max(1, answers)
