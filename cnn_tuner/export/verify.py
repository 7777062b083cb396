"""Proves that an export predicts what was measured: a new process reads it and its answers are compared."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cnn_tuner.data.dataset import Images
from cnn_tuner.errors import FormatError, VerificationError
from cnn_tuner.export.formats.registry import FORMATS, SAVED_MODEL
from cnn_tuner.export.readers import Reader, Readers
from cnn_tuner.metrics import scores as scores_module

MAX_DIFFERENCE = 1e-5  # of a score between the live model and a reader, relative where scores are larger than 1
MAX_STEPS = 0.02  # of a score of whole numbers between two processors: some of 256 steps, relative as above
MAX_LOSS = 0.005  # of the accuracy by rounding to whole numbers, or one image
MAX_GROWTH = 0.05  # of a regression's mean absolute error, likewise


@dataclass(frozen=True)
class Measured:
    """What the live model said: scores (N, units) of images (N, H, W, C) uint8 with labels y.

    own: what a format that rounds said itself when it was exported, by its name: (N, units).
    """

    task: str
    class_names: tuple[str, ...]
    images: Images
    scores: np.ndarray
    y: np.ndarray | None = None
    part: str = "the test part"
    own: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """What a reader found: the largest difference of a score, its scores (N, units), median seconds by images."""

    difference: float
    scores: np.ndarray
    latency: dict[int, float] = field(default_factory=dict)


def verify(readers: Readers, measured: Measured, exports: dict[str, Path]) -> dict[str, Reading]:
    """Has each export read in a process of its own, compares it with what was measured, and times it.

    Args:
        readers: those processes, at least one for each export.
        measured: the live model's answers.
        exports: the format of each export and its path.

    Raises:
        VerificationError: a reader failed, or an answer differs; the message says which image and by how much.
    """
    asked = readers.ask(measured.images, exports)
    found = {kind: compared(reader, kind, measured) for kind, reader in asked.items()}
    # Once all have answered: what is timed must be alone on the machine.
    return {kind: replace(found[kind], latency=reader.latencies()) for kind, reader in asked.items()}


def compared(reader: Reader, kind: str, measured: Measured) -> Reading:
    """What a reader answers, which must be what was measured.

    Raises:
        FormatError: it failed, or an answer differs.
    """
    try:
        answers = reader.answers()
        return Reading(compare(kind, reader.path, measured, answers), answers["scores"])
    except VerificationError as error:
        raise FormatError(str(error), kind) from error


def compare(kind: str, path: Path, measured: Measured, answers: dict[str, np.ndarray]) -> float:
    """The largest difference of a score between a reader's answers and what was measured.

    Raises:
        VerificationError: a score, a class name or a class differs; of a format that rounds, its accuracy.
    """
    found = answers["scores"]
    if found.shape != measured.scores.shape:
        raise VerificationError(f"{path}: gives scores of shape {found.shape}, measured were {measured.scores.shape}")
    if kind in measured.own:
        _check_scores(path, measured.part, found, measured.own[kind], MAX_STEPS)
    elif FORMATS[kind].is_exact:
        _check_scores(path, measured.part, found, measured.scores, MAX_DIFFERENCE)
    else:
        _check_metric(path, measured, found)
    if kind == SAVED_MODEL:
        _check_names(path, measured, answers["class_names"], answers.get("classes"))
    return float(_differences(found, measured.scores).max())


def _differences(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    differences: np.ndarray = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    return differences


def _check_scores(path: Path, part: str, found: np.ndarray, expected: np.ndarray, allowed: float) -> None:
    worst_of = _differences(found, expected).max(axis=1)
    worst = int(worst_of.argmax())  # the first NaN, if there is one
    if np.isnan(worst_of[worst]):
        raise VerificationError(f"{path}: image {worst} of {part}: a score is no number")
    if worst_of[worst] > allowed:
        off = f"{worst_of[worst]:.2g}, allowed are {allowed:g}"
        raise VerificationError(f"{path}: image {worst} of {part}: a score differs by {off}")


def _check_metric(path: Path, measured: Measured, found: np.ndarray) -> None:
    """Whether rounding costs no more accuracy than is allowed."""
    assert measured.y is not None
    if not np.isfinite(found).all():
        raise VerificationError(f"{path}: a score of {measured.part} is no number")
    before = scores_module.measure(measured.task, measured.y, measured.scores)
    after = scores_module.measure(measured.task, measured.y, found)
    if measured.task == "regression":
        name, most = "mae", before["mae"] * (1 + MAX_GROWTH)
        is_met = after[name] <= most
    else:
        name, most = "accuracy", before["accuracy"] - max(MAX_LOSS, 1 / len(found)) - 1e-9
        is_met = after[name] >= most
    if not is_met:
        told = f"{name} {after[name]:.4g} on {measured.part}, the model has {before[name]:.4g}"
        raise VerificationError(f"{path}: rounding to whole numbers costs too much: {told}")


def _check_names(path: Path, measured: Measured, names: np.ndarray, classes: np.ndarray | None) -> None:
    if tuple(names) != measured.class_names:
        raise VerificationError(f"{path}: holds the class names {names.tolist()}, not {list(measured.class_names)}")
    if classes is None:
        return
    expected = np.array(measured.class_names)[scores_module.predicted(measured.task, measured.scores)]
    for image in np.flatnonzero(classes != expected):
        # Two classes that are equally likely but for rounding may swap; anything else is an error.
        scores = np.sort(measured.scores[image])
        gap = scores[-1] - scores[-2] if len(scores) > 1 else abs(scores[0] - 0.5)
        if gap > MAX_DIFFERENCE:
            said = f"{str(classes[image])!r}, measured was {str(expected[image])!r}"
            raise VerificationError(f"{path}: image {image} of {measured.part}: says {said}")
