"""What the best model said of the test part, kept with the run: to show it takes neither the data nor the model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_tuner.data.dataset import Part
from cnn_tuner.metrics import scores as scores_module

MOST_MISTAKES = 24  # pictures of the surest mistakes that are kept
MOST_EXAMPLES = 500  # pictures of what was right that are kept, the first of each class in turn
MOST_BYTES = 8 * 2**20  # of all these pictures


@dataclass(frozen=True)
class Evaluation:
    """Labels and scores of the test part, and some of its pictures.

    y: (N,), or (N, units), as a `Part` holds them; scores: (N, units), as the last layer gives them. `mistakes` and
    `examples` are places in the test part, (K,), the surest mistake first; `pictures` are those of both in this
    order, (K, H, W, C) uint8.
    """

    task: str
    y: np.ndarray
    scores: np.ndarray
    mistakes: np.ndarray
    examples: np.ndarray
    pictures: np.ndarray

    def picture(self, place: int) -> np.ndarray:
        """The picture at a place of the test part, (H, W, C), of a mistake or an example."""
        return np.asarray(self.pictures[[*self.mistakes, *self.examples].index(place)])

    def confusion(self) -> np.ndarray:
        """How many images of each class (row) were taken for each class (column), (classes, classes).

        Raises:
            ValueError: the task has no classes that exclude each other.
        """
        if self.task not in ("binary", "multiclass"):
            raise ValueError(f"a {self.task} task has no confusion matrix")
        classes = max(2, self.scores.shape[1])
        truth = self.y.reshape(-1).astype(int)
        cells = classes * truth + scores_module.predicted(self.task, self.scores)
        return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def evaluate(task: str, test: Part, scores: np.ndarray) -> Evaluation:
    """An evaluation of the test part, with the pictures that say most."""
    sure = _how_wrong(task, test.y, scores)
    order = np.argsort(-sure, kind="stable")
    mistakes = order[: min(MOST_MISTAKES, int((sure > 0).sum()))]
    room = max(1, MOST_BYTES // max(1, test.x[0].nbytes) - len(mistakes))
    examples = _examples(task, test.y, sure)[: min(MOST_EXAMPLES, room)]
    return Evaluation(task, test.y, scores, mistakes, examples, test.x[np.concatenate([mistakes, examples])])


def _how_wrong(task: str, y: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How sure each wrong answer was, (N,): 0 for a right one; the mean absolute error in a regression."""
    if task == "regression":
        return np.asarray(np.abs(scores - y).mean(axis=1))
    predicted = scores_module.predicted(task, scores)
    if task == "multiclass":
        return np.where(predicted != y.astype(int), scores.max(axis=1), 0.0)
    wrong = predicted.reshape(scores.shape) != y.astype(int).reshape(scores.shape)
    return np.asarray(np.where(wrong, np.maximum(scores, 1 - scores), 0.0).max(axis=1))


def _examples(task: str, y: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Places of the right answers, of each class in turn; of all images where no answer is right or wrong."""
    right = np.flatnonzero(sure == 0) if task != "regression" else np.arange(len(y))
    if task in ("multilabel", "regression"):
        return right
    truth = y.reshape(-1).astype(int)[right]
    turns = np.empty(len(right), int)
    for label in np.unique(truth):
        own = truth == label
        turns[own] = np.arange(own.sum())
    return right[np.lexsort((truth, turns))]


ARRAYS = ("y", "scores", "mistakes", "examples", "pictures")


def save(evaluation: Evaluation, path: Path) -> None:
    """Writes an evaluation whole or not at all."""
    aside = path.with_name(f".{path.name}.tmp")
    with aside.open("wb") as file:
        np.savez_compressed(file, task=evaluation.task, **{name: getattr(evaluation, name) for name in ARRAYS})
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def load(path: Path) -> Evaluation | None:
    """The evaluation in a file, None where there is none that can be read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Evaluation(str(arrays["task"]), *(arrays[name] for name in ARRAYS))
    except Exception:  # damaged archives make their readers raise almost anything
        return None
