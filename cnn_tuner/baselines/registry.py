"""The baselines by name. A new one is a module with `TASKS` and `scores`, and a line here."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from importlib import import_module

import numpy as np

from cnn_tuner.data.dataset import Dataset, Images, Part, pieces
from cnn_tuner.metrics import scores
from cnn_tuner.runs.records import Baseline

BASELINES = {"constant": "constant", "logistic regression": "logistic", "RBF SVM": "svm", "ridge": "ridge"}
MOST_VALUES = 4_000_000  # pixels that one is fitted on: some seconds, and 32 MB as float64


def measure(dataset: Dataset, seed: int = 0) -> tuple[Baseline, ...]:
    """Every baseline that the data's task has, with its metrics on the validation and the test part.

    Each is fitted on the training images, on a random part of them where they are many.

    Args:
        dataset: the data of a run; the test part is looked at to be told beside the winner's, never to choose by.
        seed: which images, where not all are taken.
    """
    modules = {name: import_module(f"cnn_tuner.baselines.{module}") for name, module in BASELINES.items()}
    part = _some(dataset.train, seed)
    return tuple(_measured(name, m, part, dataset) for name, m in modules.items() if dataset.task in m.TASKS)


def _some(part: Part, seed: int) -> Part:
    most = max(1, MOST_VALUES // int(np.prod(part.x.shape[1:])))
    if len(part) <= most:
        return part
    chosen = np.sort(np.random.default_rng(seed).choice(len(part), most, replace=False))
    return Part(part.x[chosen], part.y[chosen])


def _measured(name: str, module: object, part: Part, dataset: Dataset) -> Baseline:
    started = time.monotonic()
    others = _Rows(dataset.val.x, dataset.test.x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one that has not converged in its time is what it is
        found = module.scores(dataset.task, _rows(part.x), part.y, others)  # type: ignore[attr-defined]
    both = np.concatenate(found)
    val = scores.told(dataset.task, dataset.val.y, both[: len(dataset.val)])
    test = scores.told(dataset.task, dataset.test.y, both[len(dataset.val) :])
    return Baseline(name, len(part), val, test, time.monotonic() - started)


class _Rows:
    """The images of several parts as rows, a few at a time: as floats they are four times as large."""

    def __init__(self, *parts: Images) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[np.ndarray]:
        return (_rows(piece) for part in self._parts for piece in pieces(part))


def _rows(images: Images) -> np.ndarray:
    """Images (N, H, W, C) uint8 as rows (N, H * W * C) float32 in [0, 1]."""
    rows: np.ndarray = np.asarray(images).reshape(len(images), -1).astype(np.float32) / 255
    return rows
