"""Always the same answer: how common each class is, the mean of the targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TASKS = ("binary", "multiclass", "multilabel", "regression")


def scores(task: str, x: np.ndarray, y: np.ndarray, others: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Scores (N, units) of other rows of pixels, as a network's last layer gives them.

    Args:
        task: what the labels ask for.
        x: (N, values) float32 in [0, 1].
        y: the labels, as a `Part` holds them.
        others: further rows like `x`.
    """
    answer = np.bincount(y) / len(y) if task == "multiclass" else y.mean(axis=0)
    return [np.tile(answer, (len(rows), 1)) for rows in others]
