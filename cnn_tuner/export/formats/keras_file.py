"""The `.keras` file of a run: loaded with care, and as a part of an export."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import keras

from cnn_tuner.data.files import one_line, shown
from cnn_tuner.errors import VerificationError
from cnn_tuner.export.checks.keras_file import check_keras
from cnn_tuner.export.formats.registry import Source


def load(path: Path, is_chain: bool = True) -> keras.Model:
    """The model in a file that may be anybody's, without how it was compiled.

    `is_chain`: see `check_keras`.

    Raises:
        VerificationError: it holds what is not to be loaded, or cannot be read.
    """
    check_keras(path, is_chain)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises almost anything on a damaged file, or on one of a newer Keras
        raise VerificationError(
            f"{shown(path)}: cannot be read by Keras {keras.__version__}: {one_line(error)}"
        ) from error


def save(model: keras.Model, path: Path) -> None:
    """Writes a model aside and renames it, so that the file is whole whenever it is there."""
    aside = path.with_name(f".{path.name}.tmp.keras")
    model.save(aside)
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    aside.replace(path)


def write(source: Source, path: Path) -> None:
    """Copies the run's best.keras, which is verified itself: a file written again would hold another date."""
    shutil.copyfile(source.kept, path)
