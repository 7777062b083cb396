"""Which flips keep an image what it is, as far as a simple model can tell: it learns no worse from mirrored copies."""

from __future__ import annotations

import math

import numpy as np

from cnn_tuner.baselines import svm
from cnn_tuner.data.dataset import Part
from cnn_tuner.metrics import scores

MOST_IMAGES = 2000  # half of them to learn from, half to be asked about, and the other way round: two seconds
MOST_SIDE = 16  # pixels that the model sees
MOST_CLASSES = 100  # of more it has too few images each, and a machine for every two of them
KNOWS = 0.1  # more than the share of the most frequent class has the model to know, to be asked


def flips(task: str, part: Part, seed: int = 0) -> tuple[str, ...]:
    """The choices of `augmentation.flip` for images like those of a training part, "none" first.

    An RBF SVM is fitted on half of the images, made small, and on these with their mirrored copies; both are asked
    about the other half as it is. A flip is a choice where the copies cost no more than chance explains: a mirrored 2
    is none, a mirrored shirt is a shirt. Where the model knows too little to be asked, images are taken for
    photographs, of which a mirrored one is as good; where images may have several labels or none, nothing is flipped.
    """
    if task not in svm.TASKS or len(part) < 4:
        return ("none",)
    chosen = np.random.default_rng(seed).permutation(len(part))[:MOST_IMAGES]
    x, y = small(part.x[chosen], MOST_SIDE), part.y[chosen]
    counts, half = np.unique(y, return_counts=True)[1], len(x) // 2

    def right(axis: int | None) -> np.ndarray:
        return np.concatenate([_right(task, x[a], y[a], x[b], y[b], axis) for a, b in _halves(half)])

    if len(counts) > MOST_CLASSES or (plain := right(None)).mean() < counts.max() / len(y) + KNOWS:
        return ("none", "horizontal")
    horizontal, vertical = (_is_as_good(plain, right(axis)) for axis in (2, 1))
    return ("none", *(["horizontal"] if horizontal else []), *(["both"] if horizontal and vertical else []))


def _halves(half: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    first, second = slice(0, half), slice(half, None)
    return (first, second), (second, first)


def small(images: np.ndarray, most_side: int) -> np.ndarray:
    """Images (N, H, W, C) uint8 as means of squares, (N, h, w, C) float32 in [0, 1], h and w at most `most_side`."""
    by = max(1, math.ceil(max(images.shape[1:3]) / most_side))
    height, width = (side // by * by for side in images.shape[1:3])
    if by == 1 or not height or not width:
        return np.asarray(images.astype(np.float32) / 255)
    squares = images[:, :height, :width].reshape(len(images), height // by, by, width // by, by, -1)
    return np.asarray(squares.mean(axis=(2, 4), dtype=np.float32) / 255)


def _right(task: str, x: np.ndarray, y: np.ndarray, of_x: np.ndarray, of_y: np.ndarray, axis: int | None) -> np.ndarray:
    """Whether a model of `x`, with copies that are mirrored along `axis`, is right about each of the others, (N,)."""
    if len(np.unique(y)) < 2:
        return np.zeros(len(of_y))
    copies = [x] if axis is None else [x, np.flip(x, axis)]
    rows = np.concatenate(copies).reshape(len(x) * len(copies), -1)
    [found] = svm.scores(task, rows, np.concatenate([y] * len(copies)), [of_x.reshape(len(of_x), -1)])
    return np.asarray(scores.predicted(task, found) == of_y.reshape(-1), float)


def _is_as_good(right: np.ndarray, mirrored: np.ndarray) -> bool:
    lost = right - mirrored
    return float(lost.mean()) <= float(lost.std()) / math.sqrt(len(lost))
