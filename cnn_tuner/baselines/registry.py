"""The baselines by name. A new one is a module with `TASKS` and `scores`, and a line here."""

from __future__ import annotations

import time
import warnings
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from cnn_tuner.baselines.mirrored import small
from cnn_tuner.data.dataset import Dataset, Images, Part, pieces
from cnn_tuner.metrics import scores
from cnn_tuner.runs.records import Baseline

BASELINES = {"constant": "constant", "logistic regression": "logistic", "RBF SVM": "svm", "ridge": "ridge"}
MOST_SIDE = 32  # pixels that a simple model sees
MOST_VALUES = 4_000_000  # pixels that one is fitted on: some seconds, and 32 MB as float64


def measure(dataset: Dataset, seed: int = 0) -> tuple[Baseline, ...]:
    """Every baseline that the data's task has, with its metrics on the validation and the test part.

    Each is fitted on the training images, on a random part of them where they are many; images of more than 32 pixels a
    side are made small before.

    Args:
        dataset: the data of a run; the test part is looked at to be told beside the winner's, never to choose by.
        seed: which images, where not all are taken.
    """
    modules = {name: import_module(f"cnn_tuner.baselines.{module}") for name, module in BASELINES.items()}
    part = _some(dataset.train, seed)
    x, val, test = (_rows(each.x) for each in (part, dataset.val, dataset.test))
    own = {name: module for name, module in modules.items() if dataset.task in module.TASKS}
    return tuple(_measured(name, module, x, part, (val, test), dataset) for name, module in own.items())


def _some(part: Part, seed: int) -> Part:
    most = max(1, MOST_VALUES // _rows(part.x[:1]).shape[1])
    if len(part) <= most:
        return part
    chosen = np.sort(np.random.default_rng(seed).choice(len(part), most, replace=False))
    return Part(part.x[chosen], part.y[chosen])


def _measured(
    name: str, module: Any, x: np.ndarray, part: Part, others: tuple[np.ndarray, np.ndarray], dataset: Dataset
) -> Baseline:
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one that has not converged in its time is what it is
        found = module.scores(dataset.task, x, part.y, others)
    val, test = map(partial(scores.told, dataset.task), (dataset.val.y, dataset.test.y), found)
    return Baseline(name, len(part), val, test, time.monotonic() - started)


def _rows(images: Images) -> np.ndarray:
    """Images (N, H, W, C) uint8 as rows of float32 in [0, 1]; a few at a time, as floats are four times as large."""
    found = [small(piece, MOST_SIDE).reshape(len(piece), -1) for piece in pieces(images)]
    return np.concatenate(found)
