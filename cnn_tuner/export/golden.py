"""Golden samples: some images of the test part, their labels, and what the model said, so that others can verify it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cnn_tuner.errors import VerificationError
from cnn_tuner.export.verify import Measured

FILE = "golden.npz"
MOST_IMAGES = 64
MOST_BYTES = 2 * 2**20  # of the file; one image at least is kept, however large
READ_BYTES = 256 * 2**20  # unpacked, when a file of unknown origin is read
OWN = "scores_"  # before the name of a format that rounds


def choose(task: str, y: np.ndarray, image_bytes: int) -> np.ndarray:
    """Places in the test part, in order: of every class as many as its share, or evenly spread."""
    count = min(MOST_IMAGES, len(y), max(1, (MOST_BYTES - 2**16) // image_bytes))
    order = np.argsort(y.reshape(-1), kind="stable") if task in ("binary", "multiclass") else np.arange(len(y))
    return np.sort(order[np.unique(np.linspace(0, len(y) - 1, count).round().astype(int))])


def write(folder: Path, measured: Measured, own: Mapping[str, np.ndarray]) -> Measured:
    """Writes the samples of what was measured; `own`: the scores of formats that round. The same gives the same bytes.

    Returns:
        What was measured, of the samples alone.
    """
    assert measured.y is not None
    places = choose(measured.task, measured.y, measured.images[0].nbytes)
    arrays = {"images": measured.images[places], "y": measured.y[places], "scores": measured.scores[places]}
    rounded = {name: scores[places] for name, scores in own.items()}
    np.savez_compressed(folder / FILE, **arrays, **{OWN + name: scores for name, scores in rounded.items()})
    return Measured(
        measured.task, measured.class_names, arrays["images"], arrays["scores"], arrays["y"], FILE, dict(rounded)
    )


def read(folder: Path, task: str, class_names: tuple[str, ...], image_shape: tuple[int, int, int]) -> Measured:
    """The samples in the folder of an export.

    Raises:
        VerificationError: they are missing or damaged, or not those of such a model.
    """
    file = folder / FILE
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > READ_BYTES:
            raise VerificationError(f"{file}: must unpack to at most {READ_BYTES:,} bytes, got {size:,}")
        with np.load(file, allow_pickle=False) as arrays:
            found = dict(arrays)
        images, y, scores = found.pop("images"), found.pop("y"), found.pop("scores")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise VerificationError(f"{file}: holds no golden samples: {error}") from error
    if images.dtype != np.uint8 or images.shape[1:] != image_shape or not len(images) == len(y) == len(scores) > 0:
        expected = f"images of shape {image_shape} with labels and scores"
        raise VerificationError(f"{file}: must hold uint8 {expected}, got {images.dtype} {images.shape[1:]}")
    own = {name.removeprefix(OWN): scores for name, scores in found.items() if name.startswith(OWN)}
    return Measured(task, class_names, images, scores, y, FILE, own)
