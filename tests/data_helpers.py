"""Tiny data of every source, written to disk or put in Keras's place."""

from __future__ import annotations

import gzip
import importlib
import io
import shutil
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


def write_folder(
    root: Path, classes: Sequence[str] = ("cat", "dog", "owl"), count: int = 20, size: int = 9, seed: int = 0
) -> str:
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(count):
            image = Image.fromarray(pixels(size, size, 3, seed=seed + 1000 * number + index))
            image.save(root / name / f"{index:03}.png")
    return str(root)


def write_table(folder: Path, count: int = 80, classes: int = 4, name: str = "labels.csv") -> str:
    """images/000.png, ... and a table of their labels."""
    (folder / "images").mkdir(parents=True)
    lines = ["path,label"]
    for index in range(count):
        Image.fromarray(pixels(7, 6, 3, seed=index)).save(folder / "images" / f"{index:03}.png")
        lines.append(f"images/{index:03}.png,{'abcdefghij'[index % classes]}")
    (folder / name).write_text("\n".join(lines) + "\n")
    return f"csv:{folder / name}"


def write_archive(path: Path, root: Path | None = None) -> str:
    """A zip, or what the suffix says, of a folder of class folders."""
    if root is None:
        root = path.parent / "zoo to pack"
        write_folder(root)
    kinds = {".zip": "zip", ".tar": "tar", ".gz": "gztar", ".tgz": "gztar", ".bz2": "bztar", ".xz": "xztar"}
    made = shutil.make_archive(str(path.parent / "packed"), kinds[path.suffix], root.parent, root.name)
    Path(made).rename(path)
    return f"archive:{path}"


def write_npy(folder: Path) -> str:
    folder.mkdir()
    np.save(folder / "x_train.npy", pixels(80, 7, 6, 3))
    np.save(folder / "y_train.npy", labels(80, 4))
    return f"npy:{folder}"


def write_function(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch, module: str = "my_images") -> str:
    """A module with the function `images` of this body, in the current folder."""
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # another test writes another module of this name
    lines = ["import numpy as np", "from data_helpers import labels, pixels", "", "def images():", body]
    (folder / f"{module}.py").write_text("\n".join(lines) + "\n")
    importlib.invalidate_caches()
    return f"python:{module}:images"


def write_hugging_face(folder: Path) -> str:
    datasets = pytest.importorskip("datasets", reason="make test-sources installs it")
    found = datasets.Dataset.from_dict(
        {"image": [_png(x) for x in pixels(80, 7, 6, 3)], "label": labels(80, 4).tolist()}
    )
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list("wxyz"))}
    for name, kind in kinds.items():
        found = found.cast_column(name, kind)
    found.save_to_disk(str(folder))
    return f"hf:{folder}"


def _png(image: np.ndarray) -> dict[str, object]:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


def fake_tensorflow(monkeypatch: pytest.MonkeyPatch) -> str:
    """A builder of TensorFlow Datasets as far as it is asked; test_data_sets.py has the real one."""
    kinds = {name: type(name, (SimpleNamespace,), {}) for name in ("Image", "ClassLabel", "Sequence")}
    files = [_png(x)["bytes"] for x in pixels(80, 7, 6, 3)]
    pairs = [{"image": file, "label": label} for file, label in zip(files, labels(80, 4), strict=True)]
    features = {"image": kinds["Image"](), "label": kinds["ClassLabel"](names=list("wxyz"))}
    info = SimpleNamespace(name="toys", features=features, splits={"train": SimpleNamespace(num_bytes=80 * 7 * 6 * 3)})
    builder = SimpleNamespace(
        info=info,
        download_and_prepare=lambda: None,
        as_dataset=lambda **asked: SimpleNamespace(as_numpy_iterator=lambda: iter(pairs)),
    )
    fake = SimpleNamespace(
        builder=lambda name: builder,
        features=SimpleNamespace(**kinds),
        decode=SimpleNamespace(SkipDecoding=lambda: None),
    )
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    return "tfds:toys"


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
    "npy": lambda tmp_path, monkeypatch: write_npy(tmp_path / "arrays"),
    "folder": lambda tmp_path, monkeypatch: f"folder:{write_folder(tmp_path / 'zoo')}",
    "csv": lambda tmp_path, monkeypatch: write_table(tmp_path / "table"),
    "archive": lambda tmp_path, monkeypatch: write_archive(tmp_path / "zoo.zip"),
    "hf": lambda tmp_path, monkeypatch: write_hugging_face(tmp_path / "birds"),
    "tfds": lambda tmp_path, monkeypatch: fake_tensorflow(monkeypatch),
    "python": lambda tmp_path, monkeypatch: write_function(
        tmp_path, "    return pixels(80, 7, 6, 3), labels(80, 4)", monkeypatch
    ),
}
