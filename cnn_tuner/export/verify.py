"""Proves that an export predicts what was measured: a new process reads it and its answers are compared."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_tuner.errors import VerificationError
from cnn_tuner.scores import predicted

MAX_DIFFERENCE = 1e-5  # of a score between the live model and a reader, relative where scores are larger than 1
READER = Path(__file__).with_name("reader.py")


@dataclass(frozen=True)
class Measured:
    """What the live model said: scores (N, units) of images (N, H, W, C) uint8."""

    task: str
    class_names: tuple[str, ...]
    images: np.ndarray
    scores: np.ndarray


def verify(measured: Measured, exports: dict[str, Path]) -> dict[str, float]:
    """Reads each export in a process of its own and compares it with what was measured.

    Args:
        measured: the live model's answers.
        exports: the kind of each export, `saved_model` or `keras`, and its path.

    Returns:
        The largest difference of a score, by kind.

    Raises:
        VerificationError: a reader failed, or an answer differs; the message says which image and by how much.
    """
    with tempfile.TemporaryDirectory(prefix="cnn-tuner-") as scratch:
        images = Path(scratch) / "images.npy"
        np.save(images, measured.images)
        readers = {kind: _start(kind, path, images, Path(scratch)) for kind, path in exports.items()}
        try:
            return {
                kind: compare(kind, exports[kind], measured, _answers(exports[kind], reader))
                for kind, reader in readers.items()
            }
        finally:
            for reader in readers.values():
                if reader.process.poll() is None:
                    reader.process.kill()
                    reader.process.communicate()


@dataclass(frozen=True)
class _Reader:
    process: subprocess.Popen[str]
    answers: Path


def _start(kind: str, path: Path, images: Path, scratch: Path) -> _Reader:
    answers = scratch / f"{kind}.npz"
    command = [sys.executable, "-I", str(READER), kind, str(path), str(images), str(answers)]
    # A session of its own: the Ctrl-C that asks for the best so far must not end the reader that verifies it.
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    return _Reader(process, answers)


def _answers(path: Path, reader: _Reader) -> dict[str, np.ndarray]:
    """Waits for a reader and loads what it wrote."""
    _, errors = reader.process.communicate()
    if reader.process.returncode != 0:
        last = (errors.strip().splitlines() or ["no message"])[-1]
        raise VerificationError(f"{path}: a new process cannot read it: {last}")
    with np.load(reader.answers, allow_pickle=False) as found:
        return dict(found)


def compare(kind: str, path: Path, measured: Measured, answers: dict[str, np.ndarray]) -> float:
    """The largest difference of a score between a reader's answers and what was measured.

    Raises:
        VerificationError: a score, a class name or a class differs.
    """
    difference = _check_scores(path, measured, answers["scores"])
    if kind == "saved_model":
        _check_names(path, measured, answers["class_names"], answers.get("classes"))
    return difference


def _check_scores(path: Path, measured: Measured, scores: np.ndarray) -> float:
    if scores.shape != measured.scores.shape:
        raise VerificationError(f"{path}: gives scores of shape {scores.shape}, measured were {measured.scores.shape}")
    differences = np.abs(scores - measured.scores) / np.maximum(1.0, np.abs(measured.scores))
    worst = int(differences.max(axis=1).argmax())
    if not differences[worst].max() <= MAX_DIFFERENCE:  # a difference of NaN fails too
        off = f"{differences[worst].max():.2g}, allowed are {MAX_DIFFERENCE:g}"
        raise VerificationError(f"{path}: image {worst} of the test part: a score differs by {off}")
    return float(differences.max())


def _check_names(path: Path, measured: Measured, names: np.ndarray, classes: np.ndarray | None) -> None:
    if tuple(names) != measured.class_names:
        raise VerificationError(f"{path}: holds the class names {names.tolist()}, not {list(measured.class_names)}")
    if classes is None:
        return
    expected = np.array(measured.class_names)[predicted(measured.task, measured.scores)]
    for image in np.flatnonzero(classes != expected):
        # Two classes that are equally likely but for rounding may swap; anything else is an error.
        scores = np.sort(measured.scores[image])
        gap = scores[-1] - scores[-2] if len(scores) > 1 else abs(scores[0] - 0.5)
        if gap > MAX_DIFFERENCE:
            said = f"{str(classes[image])!r}, measured was {str(expected[image])!r}"
            raise VerificationError(f"{path}: image {image} of the test part: says {said}")
