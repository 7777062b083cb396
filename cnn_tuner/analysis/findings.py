"""What the winner's answers on the test part show: each class by itself, what it confuses, its surest mistakes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnn_tuner.metrics import scores
from cnn_tuner.metrics.intervals import Interval, measure_intervals, wilson
from cnn_tuner.runs.evaluation import Evaluation

FEW_IMAGES = 30  # below it, the interval of a class's recall is wider than 0.3 unless nearly all is right, or wrong
WIDE_INTERVAL = 0.2


@dataclass(frozen=True)
class ClassRow:
    """One class or label on the test part; `recall_interval` is 95 %, None where the test part has none of it."""

    name: str
    precision: float
    recall: float
    f1: float
    images: int
    recall_interval: Interval | None


@dataclass(frozen=True)
class TargetRow:
    """One target of a regression on the test part, in its own unit, with 95 % intervals."""

    name: str
    mae: float
    mae_interval: Interval
    rmse: float
    rmse_interval: Interval


@dataclass(frozen=True)
class Confusion:
    """So many images of class `truth` were taken for `predicted`; `share` is of all images of `truth`."""

    truth: str
    predicted: str
    images: int
    share: float


@dataclass(frozen=True)
class Picture:
    """An image of the test part with what it is and what it was taken for. `pixels`: (H, W, C) uint8."""

    place: int
    truth: str
    predicted: str
    confidence: str
    pixels: np.ndarray


def class_rows(found: Evaluation, names: tuple[str, ...]) -> list[ClassRow]:
    """Every class or label in its order; nothing for regression."""
    rows = []
    for row in scores.by_class(found.task, found.y, found.scores, names):
        images, recall, f1 = int(row["images"] or 0), float(row["recall"] or 0), float(row["f1"] or 0)
        interval = wilson(round(recall * images), images) if images else None
        rows.append(ClassRow(str(row["class"]), float(row["precision"] or 0), recall, f1, images, interval))
    return rows


def target_rows(found: Evaluation, names: tuple[str, ...]) -> list[TargetRow]:
    """Every target of a regression; nothing for other tasks."""
    if found.task != "regression":
        return []
    rows = []
    for column, name in enumerate(names):
        y, answers = found.y[:, [column]], found.scores[:, [column]]
        values = scores.measure("regression", y, answers)
        intervals = measure_intervals("regression", y, answers)
        rows.append(TargetRow(name, values["mae"], intervals["mae"], values["rmse"], intervals["rmse"]))
    return rows


def confusions(found: Evaluation, names: tuple[str, ...]) -> list[Confusion]:
    """Which classes are taken for which, the most images first; nothing where classes do not exclude each other."""
    if found.task not in ("binary", "multiclass"):
        return []
    matrix = found.confusion()
    totals = matrix.sum(axis=1)
    pairs = [(int(t), int(p)) for t, p in zip(*np.nonzero(matrix), strict=True) if t != p]
    pairs.sort(key=lambda pair: (-matrix[pair], pair))
    return [Confusion(names[t], names[p], int(matrix[t, p]), float(matrix[t, p] / totals[t])) for t, p in pairs]


def mistakes(found: Evaluation, names: tuple[str, ...], most: int) -> list[Picture]:
    """The surest mistakes, the surest first; for regression the largest errors."""
    return [_picture(found, names, int(place)) for place in found.mistakes[:most]]


def examples(found: Evaluation, names: tuple[str, ...], most: int) -> list[Picture]:
    """Some images of the test part that were told right."""
    return [_picture(found, names, int(place)) for place in found.examples[:most]]


def _picture(found: Evaluation, names: tuple[str, ...], place: int) -> Picture:
    answer, y = found.scores[place], np.atleast_1d(found.y[place])
    return Picture(place, *_TELL[found.task](y, answer, names), found.picture(place))


def _tell_binary(y: np.ndarray, answer: np.ndarray, names: tuple[str, ...]) -> tuple[str, str, str]:
    predicted = int(answer[0] > scores.THRESHOLD)
    return names[int(y[0])], names[predicted], f"{max(answer[0], 1 - answer[0]):.1%}"


def _tell_multiclass(y: np.ndarray, answer: np.ndarray, names: tuple[str, ...]) -> tuple[str, str, str]:
    return names[int(y[0])], names[int(answer.argmax())], f"{answer.max():.1%}"


def _tell_multilabel(y: np.ndarray, answer: np.ndarray, names: tuple[str, ...]) -> tuple[str, str, str]:
    """The confidence is that of the label that is the surest mistake, or of the least sure label."""
    is_there = answer > scores.THRESHOLD
    sure = np.maximum(answer, 1 - answer)
    wrong = is_there != (y > scores.THRESHOLD)
    told = int(np.where(wrong, sure, 0).argmax() if wrong.any() else sure.argmin())
    return _labels(y > scores.THRESHOLD, names), _labels(is_there, names), f"{sure[told]:.1%} of {names[told]}"


def _labels(is_there: np.ndarray, names: tuple[str, ...]) -> str:
    return ", ".join(name for name, there in zip(names, is_there, strict=True) if there) or "none"


def _tell_regression(y: np.ndarray, answer: np.ndarray, names: tuple[str, ...]) -> tuple[str, str, str]:
    error = float(np.abs(answer - y).mean())
    return _numbers(y), _numbers(answer), f"off by {error:.4g}"


def _numbers(values: np.ndarray) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


_TELL = {
    "binary": _tell_binary,
    "multiclass": _tell_multiclass,
    "multilabel": _tell_multilabel,
    "regression": _tell_regression,
}


def is_doubtful(row: ClassRow) -> bool:
    """Whether the test part tells little of a class: few images of it, or a wide interval."""
    interval = row.recall_interval
    return interval is None or row.images < FEW_IMAGES or interval.high - interval.low > WIDE_INTERVAL
