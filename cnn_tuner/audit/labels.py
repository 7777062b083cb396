"""Labels that a cheap model finds suspicious: it is asked about each image without having learned from it.

A least-squares classifier with a Gaussian kernel on small images, as good as a support vector machine, whose answer for
an image that was left out follows from the fit to all of them: Cawley and Talbot, 2003,
https://doi.org/10.1016/S0031-3203(03)00136-5. Ranking by the margin between the label and the best other one is that
of Northcutt et al., 2021, https://arxiv.org/abs/1911.00068.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cnn_tuner.data.dataset import Images

SIDE = 16  # pixels that the model sees
BLOCK = 3_000  # images that learn from each other: some seconds
LEAST = 20  # images, of which nothing can be said of fewer
PENALTY = 0.3
SURE = 0.5  # by which another class must be ahead of the label, where 1 is all


@dataclass(frozen=True)
class Suspect:
    """An image whose label is doubted: its number, the label's class, the one that it looks like, by how much."""

    number: int
    given: int
    likely: int
    margin: float


def suspects(images: Images, classes: np.ndarray, seed: int = 0) -> tuple[list[Suspect], float]:
    """Doubted labels, the most doubted first, and the share of images of which the model says what the label says.

    images: (N, H, W, C) uint8. classes: (N,) numbers of classes.
    """
    order = np.random.default_rng(seed).permutation(len(images))
    count = max(1, math.ceil(len(order) / BLOCK))
    found: list[Suspect] = []
    right = 0
    for chosen in np.array_split(order, count):
        given = classes[chosen].astype(int)
        scores = _left_out(_rows(np.asarray(images[np.sort(chosen)])), classes[np.sort(chosen)].astype(int))
        chosen, given = np.sort(chosen), classes[np.sort(chosen)].astype(int)
        own = scores[np.arange(len(given)), given]
        scores[np.arange(len(given)), given] = -np.inf
        other = scores.argmax(axis=1)
        margins = scores[np.arange(len(given)), other] - own
        right += int((margins < 0).sum())
        found += [
            Suspect(int(chosen[i]), int(given[i]), int(other[i]), float(margins[i]))
            for i in np.flatnonzero(margins > SURE)
        ]
    return sorted(found, key=lambda each: -each.margin), right / max(1, len(order))


def _left_out(rows: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(N, K) what the model says of each row that has learned from all others; K is that of the highest class."""
    targets = np.eye(int(classes.max()) + 1)[classes]
    centre = targets.mean(axis=0)
    squares = (rows**2).sum(axis=1)
    distances = np.maximum(squares[:, np.newaxis] + squares - 2 * rows @ rows.T, 0)
    kernel = np.exp(-distances / (rows.shape[1] * max(float(rows.var()), 1e-12)), dtype=np.float64)
    inverse = np.linalg.inv(kernel + PENALTY * np.eye(len(rows)))
    return np.asarray(targets - inverse @ (targets - centre) / np.diag(inverse)[:, np.newaxis])


def _rows(images: np.ndarray) -> np.ndarray:
    """Images (N, H, W, C) as rows of float32 in [0, 1], each made small by the means of squares."""
    by = max(1, math.ceil(max(images.shape[1:3]) / SIDE))
    height, width = (max(1, side // by) for side in images.shape[1:3])
    cut = images[:, : height * by, : width * by]
    if by > 1:
        cut = cut.reshape(len(images), height, by, width, by, -1).mean(axis=(2, 4), dtype=np.float32)
    return np.asarray(cut.reshape(len(images), -1).astype(np.float32) / 255)
