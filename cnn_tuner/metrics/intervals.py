"""How far test metrics may be off, since the test part is a sample: 95 % intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from cnn_tuner.metrics import scores as scores_module

CONFIDENCE = 0.95
RESAMPLES = 1000  # Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 14: for percentile intervals
LEAST_RESAMPLES = 200
WORK = 5 * 10**7  # images x labels x resamples at most, while those are above LEAST_RESAMPLES: a few seconds
CHUNK = 10**6  # images x resamples at once: 4 MB, which stay in a processor's cache

Resampled = Callable[[np.ndarray], np.ndarray]  # how often each image is drawn (N, B) -> the metric (B,)


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, in the metric's own unit."""

    low: float
    high: float


def measure_intervals(task: str, y: np.ndarray, scores: np.ndarray, seed: int = 0) -> dict[str, Interval]:
    """The 95 % interval of each metric of `scores.told`; a metric that is not a number has none.

    The accuracy of binary and multiclass tasks is a share of images: Wilson's score interval (1927), which stays within
    0 and 1 and holds for few images and for accuracies near 1. Everything else is a percentile bootstrap over images
    (Efron, Tibshirani 1993): the labels of one image are not independent of each other, so that the accuracy of a
    multilabel task is no share of independent decisions.

    What it covers is which images are in the test part, of this one model. It says nothing of other trainings, of
    images of another kind, or of the choice of the best of many models.

    Args:
        task: binary, multiclass, multilabel or regression.
        y: the labels, as a `Part` holds them.
        scores: (N, units), as the last layer gives them.
        seed: decides which images the bootstrap draws; the same seed gives the same intervals.
    """
    found = {}
    for name, value in scores_module.told(task, y, scores).items():
        if name == "accuracy" and task != "multilabel":
            found[name] = wilson(round(value * len(y)), len(y))
        elif np.isfinite(value):
            found[name] = _bootstrap(_resampled(name, task, y, scores), len(y), scores.shape[1], seed)
    return found


def wilson(hits: int, images: int) -> Interval:
    """The 95 % score interval (Wilson, 1927) of a share of `images` > 0, of which `hits` were right."""
    from scipy.stats import binomtest

    found = binomtest(hits, images).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high))


def _resampled(name: str, task: str, y: np.ndarray, scores: np.ndarray) -> Resampled:
    """The function that gives a metric for images drawn again."""
    if name in scores_module.BY_CLASS:
        return lambda drawn: scores_module.BY_CLASS[name](scores_module.class_counts(task, y, scores, drawn))
    if name == "auc":
        return _auc(y, scores)
    if name == "accuracy":
        return _mean((scores_module.predicted("multilabel", scores) == y.astype(int)).mean(axis=1))
    error = scores.astype(float) - y
    if name == "mae":
        return _mean(np.abs(error).mean(axis=1))
    if name == "rmse":
        squares = _mean((error**2).mean(axis=1))
        return lambda drawn: np.sqrt(squares(drawn))
    raise ValueError(f"no interval is known for {name}")


def _mean(of_images: np.ndarray) -> Resampled:
    """The mean of a number that each image has, (N,)."""
    return lambda drawn: of_images @ drawn / len(of_images)


def _auc(y: np.ndarray, scores: np.ndarray) -> Resampled:
    """The mean over the labels of the area under the ROC curve, as in `scores.measure`."""
    labels = [_auc_of_label(y[:, i] > 0, scores[:, i]) for i in range(y.shape[1]) if 0 < y[:, i].sum() < len(y)]

    def resampled(drawn: np.ndarray) -> np.ndarray:
        areas = np.stack([label(drawn) for label in labels])
        told = np.isfinite(areas)  # a label that every drawn image has, or none, has no area
        means: np.ndarray = np.where(told, areas, 0).sum(axis=0) / np.where(told.any(axis=0), told.sum(axis=0), np.nan)
        return means

    return resampled


def _auc_of_label(is_there: np.ndarray, scores: np.ndarray) -> Resampled:
    """The share of pairs of images with the label and without whose scores are in order; equal ones count half."""
    order = np.argsort(scores, kind="stable")
    positives, negatives = order[is_there[order]], order[~is_there[order]]
    # Of the negatives in order: how many lie below each positive, and how many below it or equal to it.
    below, up_to = (np.searchsorted(scores[negatives], scores[positives], side) for side in ("left", "right"))

    def resampled(drawn: np.ndarray) -> np.ndarray:
        sums = np.cumsum(drawn[negatives], axis=0, dtype=np.float32)  # whole numbers, exact up to 16 million
        sums = np.concatenate([np.zeros_like(sums[:1]), sums])
        won = np.einsum("nb,nb->b", drawn[positives], sums[below] + sums[up_to]) / 2
        pairs = drawn[positives].sum(axis=0) * sums[-1]
        area: np.ndarray = won / np.where(pairs > 0, pairs, np.nan)
        return area

    return resampled


def _bootstrap(metric: Resampled, images: int, labels: int, seed: int) -> Interval:
    resamples = max(LEAST_RESAMPLES, min(RESAMPLES, WORK // (images * labels)))
    found = np.concatenate([metric(drawn) for drawn in _draws(images, resamples, seed)])
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.nanpercentile(found, [tail, 100 - tail])
    return Interval(float(low), float(high))


def _draws(images: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image is drawn, (N, B) float32, in chunks."""
    rng = np.random.default_rng(seed)
    at_once = max(1, CHUNK // images)
    for first in range(0, resamples, at_once):
        count = min(at_once, resamples - first)
        places = rng.integers(0, images, (count, images)) + images * np.arange(count)[:, None]
        drawn = np.bincount(places.ravel(), minlength=count * images).reshape(count, images)
        yield drawn.T.astype(np.float32, order="C")
