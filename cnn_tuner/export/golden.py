"""Golden samples: some images of the test part, their labels, and what the model said, so that others can verify it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cnn_tuner.data.files import one_line
from cnn_tuner.errors import VerificationError
from cnn_tuner.export.verify import Measured

FILE = "golden.npz"
MOST_IMAGES = 64
MOST_BYTES = 2 * 2**20  # of the file; one image at least is kept, however large
READ_BYTES = 256 * 2**20  # unpacked, when a file of unknown origin is read
OWN = "scores_"  # before the name of a format that rounds
KINDS = {"uint8": (np.uint8,), "numbers": (np.integer, np.floating), "floating-point numbers": (np.floating,)}


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
    except VerificationError:
        raise
    except Exception as error:  # damaged archives make their readers raise almost anything
        raise VerificationError(f"{file}: holds no golden samples: {one_line(error)}") from error
    missing = [name for name in ("images", "y", "scores") if name not in found]
    if missing:
        raise VerificationError(f"{file}: holds no golden samples: has no {', '.join(missing)}")
    images, y, scores = found["images"], found["y"], found["scores"]
    own = {name.removeprefix(OWN): array for name, array in found.items() if name.startswith(OWN)}
    count, units = len(np.atleast_1d(y)), 1 if task == "binary" else len(class_names)
    _check(file, "images", images, "uint8", (count, *image_shape))
    _check(file, "y", y, "numbers", (count,) if task == "multiclass" else (count, units))
    if task != "regression" and not np.isin(y, np.arange(units if task == "multiclass" else 2)).all():
        raise VerificationError(f"{file}: y: holds a label that the model has not")
    for name, array in {"scores": scores, **own}.items():
        _check(file, name, array, "floating-point numbers", (count, units))
    return Measured(task, class_names, images, scores, y, FILE, own)


def _check(file: Path, name: str, array: np.ndarray, kind: str, shape: tuple[int, ...]) -> None:
    """Whether an array is of this shape and of one of KINDS."""
    is_kind = any(np.issubdtype(array.dtype, each) for each in KINDS[kind])
    if not is_kind or array.shape != shape or not array.size:
        raise VerificationError(f"{file}: {name}: must be {kind} of shape {shape}, got {array.dtype} {array.shape}")
    if not np.isfinite(array).all():
        raise VerificationError(f"{file}: {name}: must be finite, is not")
