"""From which probability on a label is said to be there: 0.5, or where the validation images say it is best."""

from __future__ import annotations

import numpy as np

from cnn_tuner.metrics.calibration import LEAST_IMAGES
from cnn_tuner.metrics.scores import THRESHOLD

LEAST_OF_EACH = 5  # images with a label and without it: of fewer a threshold is chance


def choose(task: str, y: np.ndarray, probabilities: np.ndarray) -> tuple[float, ...]:
    """A threshold a unit, each between two probabilities that were said; of few images 0.5, and of other tasks none.

    Binary: the two classes count alike (the highest balanced accuracy). Multilabel: the highest F1 of each label.

    Args:
        task: binary, multiclass, multilabel or regression.
        y: (N, units) of 0 and 1, of images that the model was not trained on.
        probabilities: (N, units), as an export says them.
    """
    if task not in ("binary", "multilabel"):
        return ()
    return tuple(_best(y[:, unit], probabilities[:, unit], task == "binary") for unit in range(y.shape[1]))


def _best(y: np.ndarray, probabilities: np.ndarray, is_balanced: bool) -> float:
    there = y > 0.5
    if len(y) < LEAST_IMAGES or min(there.sum(), (~there).sum()) < LEAST_OF_EACH:
        return THRESHOLD
    order = np.argsort(-probabilities, kind="stable")
    said, right = probabilities[order], np.cumsum(there[order])
    taken = np.arange(1, len(said) + 1)
    wrong = taken - right
    f1, balanced = 2 * right / (taken + there.sum()), right / there.sum() - wrong / (~there).sum()
    worth = balanced if is_balanced else f1
    is_end = np.append(said[:-1] > said[1:], False)  # equal ones are all taken, or none; and not all images
    if not is_end.any():
        return THRESHOLD
    best = int(np.where(is_end, worth, -1.0).argmax())
    return (float(said[best]) + float(said[best + 1])) / 2
