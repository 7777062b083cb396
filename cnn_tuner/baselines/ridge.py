"""Ridge regression on the pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TASKS = ("regression",)
PENALTY = 10.0


def scores(task: str, x: np.ndarray, y: np.ndarray, others: Sequence[np.ndarray]) -> list[np.ndarray]:
    """As `cnn_tuner.baselines.constant.scores`."""
    from sklearn.linear_model import Ridge

    mean, deviation = y.mean(axis=0), y.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    model = Ridge(PENALTY).fit(x, (y - mean) / scale)
    return [np.reshape(model.predict(rows), (len(rows), -1)) * scale + mean for rows in others]
