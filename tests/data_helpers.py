"""Tiny data of every source, written to disk or put in Keras's place."""

from __future__ import annotations

import gzip
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    """Random uint8: no two images are equal."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def labels(count: int, classes: int) -> np.ndarray:
    return np.arange(count) % classes


def write_npz(path: Path, **arrays: object) -> str:
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return f"npz:{path}"


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, train: int = 60, test: int = 20, side: int = 6, zipped: bool = True) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = (pixels(train, side, side), labels(train, 10), pixels(test, side, side, seed=1), labels(test, 10))
    for name, array in zip(IDX_FILES, arrays, strict=True):
        data = idx_bytes(array)
        (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(data) if zipped else data)
    return f"idx:{folder}"


def write_folder(root: Path, classes: Sequence[str] = ("cat", "dog", "owl"), count: int = 20, size: int = 9) -> str:
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(count):
            image = Image.fromarray(pixels(size, size, 3, seed=1000 * number + index))
            image.save(root / name / f"{index:03}.png")
    return str(root)


def fake_keras(monkeypatch: pytest.MonkeyPatch, name: str, load_data: Callable[[], object]) -> None:
    monkeypatch.setitem(sys.modules, f"keras.datasets.{name}", SimpleNamespace(load_data=load_data))


def _keras(name: str, side: int, channels: tuple[int, ...], classes: int) -> Callable[..., str]:
    def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        train = pixels(6 * classes, side, side, *channels), labels(6 * classes, classes)[:, np.newaxis]
        test = pixels(2 * classes, side, side, *channels, seed=1), labels(2 * classes, classes)[:, np.newaxis]
        fake_keras(monkeypatch, name, lambda: (train, test))
        return name

    return prepare


# By source: (folder, monkeypatch) -> what the user writes.
TINY: dict[str, Callable[[Path, pytest.MonkeyPatch], str]] = {
    "digits": lambda tmp_path, monkeypatch: "digits",
    "mnist": _keras("mnist", 28, (), 10),
    "fashion_mnist": _keras("fashion_mnist", 28, (), 10),
    "cifar10": _keras("cifar10", 32, (3,), 10),
    "cifar100": _keras("cifar100", 32, (3,), 100),
    "idx": lambda tmp_path, monkeypatch: write_idx(tmp_path / "idx"),
    "npz": lambda tmp_path, monkeypatch: write_npz(
        tmp_path / "my data.npz", x_train=pixels(80, 7, 6, 3), y_train=labels(80, 4)
    ),
    "folder": lambda tmp_path, monkeypatch: f"folder:{write_folder(tmp_path / 'zoo')}",
}
