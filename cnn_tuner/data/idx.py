"""idx:DIR: the four files of MNIST and its kin, gzipped or not.

Format: http://yann.lecun.com/exdb/mnist/, "the IDX file format". Debian's package dataset-fashion-mnist brings such
files to /usr/share/datasets/fashion-mnist.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from cnn_tuner.data.class_names import FASHION_MNIST
from cnn_tuner.data.dataset import Part, RawData
from cnn_tuner.data.files import expanded, one_line, reading, shown
from cnn_tuner.data.memory import check_memory
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError

_PREFIXES = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTES = 0x08  # the only element type of these four files
_GZIP_MAGIC = b"\x1f\x8b"


def load(argument: str, options: DataOptions) -> RawData:
    """(N, H, W) uint8 images and (N,) uint8 labels of train and test.

    Raises:
        DataError: a file is missing, cannot be read, or does not hold what it declares.
    """
    folder = expanded(argument)
    with reading(folder):
        present = {path.name for path in folder.iterdir()}
    paths = {
        (part, what): _path(folder, present, f"{prefix}-{what}-idx{dimensions}-ubyte")
        for part, prefix in _PREFIXES.items()
        for what, dimensions in (("images", 3), ("labels", 1))
    }
    shapes = {key: _read_shape(path, 3 if key[1] == "images" else 1) for key, path in paths.items()}
    # Twice train's: the part that is split off is a copy.
    sizes = [math.prod(shape) for shape in shapes.values()]
    check_memory(sum(sizes) + math.prod(shapes["train", "images"]), options, shown(folder))
    parts = {
        part: Part(*(_read_values(paths[part, what], shapes[part, what]) for what in ("images", "labels")))
        for part in _PREFIXES
    }
    return RawData(
        name=folder.resolve().name,
        place=shown(folder),
        train=parts["train"],
        test=parts["test"],
        class_names=_class_names(folder, parts["train"].y),
        is_published=True,
    )


def _class_names(folder: Path, labels: np.ndarray) -> tuple[str, ...] | None:
    is_fashion = "fashion" in folder.resolve().name.lower() and labels.max() == len(FASHION_MNIST) - 1
    return FASHION_MNIST if is_fashion else None


def _path(folder: Path, present: set[str], stem: str) -> Path:
    """The file called `stem`, with or without .gz, or with the dot that some unpackers leave."""
    for name in (f"{stem}.gz", stem, stem.replace("-idx", ".idx")):
        if name in present:
            return folder / name
    raise DataError(
        f"{shown(folder)}: has no {stem}.gz; needs {{train,t10k}}-images-idx3-ubyte.gz and "
        "{train,t10k}-labels-idx1-ubyte.gz, unzipped or not"
    )


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of `path`, unzipped if they are gzipped, whatever the name says."""
    with reading(path), path.open("rb") as stored:
        is_gzip = stored.read(2) == _GZIP_MAGIC
        stored.seek(0)
        try:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=stored)) if is_gzip else stored
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise DataError(f"{shown(path)}: damaged gzip file ({one_line(error)}); fetch it again") from error


def _read_shape(path: Path, dimensions: int) -> tuple[int, ...]:
    """The sizes that the header declares."""
    with _opened(path) as stream:
        header = stream.read(4 + 4 * dimensions)
    magic = bytes((0, 0, _UNSIGNED_BYTES, dimensions))
    if header[:4] != magic:
        raise DataError(f"{shown(path)}: must begin with the bytes {magic.hex(' ')}, got {header[:4].hex(' ')!r}")
    if len(header) < 4 + 4 * dimensions:
        raise DataError(f"{shown(path)}: truncated: its header ends after {len(header)} bytes; fetch it again")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if 0 in shape:
        raise DataError(f"{shown(path)}: declares {'x'.join(map(str, shape))} values; there must be some")
    return shape


def _read_values(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Exactly the declared values, and at most one byte more: a gzip bomb stays unexploded."""
    values = np.empty(shape, np.uint8)
    declared = f"{'x'.join(map(str, shape))} = {values.size} bytes"
    left = values.data.cast("B")
    with _opened(path) as stream:
        stream.read(4 + 4 * len(shape))
        while left and (count := _read_some(stream, left)):
            left = left[count:]
        if left:
            held = values.size - len(left)
            raise DataError(f"{shown(path)}: truncated: declares {declared}, holds {held}; fetch it again")
        if stream.read(1):
            raise DataError(f"{shown(path)}: holds more than the {declared} it declares; fetch it again")
    return values


def _read_some(stream: BinaryIO, into: memoryview) -> int:
    try:
        return stream.readinto(into)  # type: ignore[attr-defined]  # typing.BinaryIO lacks it
    except EOFError:  # gzip's word for a file that stops in the middle
        return 0
