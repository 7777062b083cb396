"""Logistic regression on the pixels, one for each label where an image may have several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TASKS = ("binary", "multiclass", "multilabel")
MOST_ITERATIONS = 100


def scores(task: str, x: np.ndarray, y: np.ndarray, others: Sequence[np.ndarray]) -> list[np.ndarray]:
    """As `cnn_tuner.baselines.constant.scores`."""
    from sklearn.linear_model import LogisticRegression

    if task != "multilabel":
        labels = y[:, 0].astype(int) if task == "binary" else y
        model = LogisticRegression(max_iter=MOST_ITERATIONS).fit(x, labels)
        found = [model.predict_proba(rows) for rows in others]
        return [each[:, 1:] for each in found] if task == "binary" else found
    columns = []
    for label in y.T:
        if label.min() == label.max():
            columns.append([np.full(len(rows), float(label[0])) for rows in others])
        else:
            model = LogisticRegression(max_iter=MOST_ITERATIONS).fit(x, label.astype(int))
            columns.append([model.predict_proba(rows)[:, 1] for rows in others])
    return [np.stack(each, axis=1) for each in zip(*columns, strict=True)]
