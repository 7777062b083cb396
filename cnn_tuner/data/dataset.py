"""What the rest of the package knows of data: frozen records of arrays in one canonical form."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cnn_tuner.data.undecoded import Undecoded

PARTS = ("train", "val", "test")
PIECE_BYTES = 2**25  # of images that are looked at together
DIGEST_BYTES = 16
LARGE = 2**32  # bytes of an array in a file of which rows are read, where those of a smaller one are mapped


def read_rows(array: np.memmap, file: Path, rows: np.ndarray) -> np.ndarray:
    """Rows of an array that is mapped from a file, read from there: (N, ...) in their order.

    A fault of a mapping reads what lies around it, too, and where the file is larger than memory that is gone before
    it is needed.
    """
    found = np.empty((len(rows), *array.shape[1:]), array.dtype)
    size = found[:1].nbytes
    descriptor = os.open(file, os.O_RDONLY)
    try:
        for place in np.argsort(rows, kind="stable"):
            if os.preadv(descriptor, [found[place].data], array.offset + int(rows[place]) * size) != size:
                raise OSError(f"{file}: ends within row {rows[place]}")
    finally:
        os.close(descriptor)
    return found


class Selection:
    """Some rows of an array (M, ...), as an array (N, ...) of which only what is asked for is copied.

    rows: (N,) places in the array. file: the .npy file that the array is mapped from, None where it is in memory, or
    nowhere.
    """

    def __init__(self, array: np.ndarray | Undecoded, rows: np.ndarray, file: Path | None = None) -> None:
        self.array, self.rows, self.file = array, rows, file

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: Any) -> np.ndarray:
        """As an array's; only the rows that are asked for are copied."""
        if not isinstance(places, tuple):
            return self._of(self.rows[places])
        first, *others = places
        if first is Ellipsis or first is None:
            return np.asarray(self)[places]
        found = self._of(self.rows[first])
        return np.asarray(found[tuple(others) if np.ndim(self.rows[first]) == 0 else (slice(None), *others)])

    def _of(self, rows: Any) -> np.ndarray:
        if self.is_read and np.ndim(rows) and self.file is not None and isinstance(self.array, np.memmap):
            return read_rows(self.array, self.file, rows)
        return np.asarray(self.array[rows])

    @property
    def is_read(self) -> bool:
        """Whether rows are read from a file or decoded, and not in memory or mapped."""
        if isinstance(self.array, Undecoded):
            return True
        return self.file is not None and self.array.nbytes >= LARGE and hasattr(os, "preadv")

    def at(self, places: np.ndarray) -> Selection:
        """Some of these rows."""
        return Selection(self.array, self.rows[places], self.file)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), *self.array.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def nbytes(self) -> int:
        return len(self) * image_bytes(self.array)


Images = np.ndarray | Selection


def image_bytes(images: Images | Undecoded) -> int:
    """Of one image (H, W, C)."""
    return math.prod(images.shape[1:]) * images.dtype.itemsize


def pieces(images: Images, multiple: int = 1) -> Iterator[np.ndarray]:
    """All images in order, as many at a time as are 32 MB, a multiple of `multiple`."""
    step = max(1, PIECE_BYTES // max(1, image_bytes(images)) // multiple) * multiple
    for start in range(0, len(images), step):
        yield np.asarray(images[start : start + step])


def save(path: Path, *images: Images) -> None:
    """Writes the images of all into one .npy file, a few at a time."""
    shape = (sum(map(len, images)), *images[0].shape[1:])
    whole = np.lib.format.open_memmap(path, "w+", images[0].dtype, shape)
    start = 0
    for each in images:
        for piece in pieces(each):
            whole[start : start + len(piece)] = piece
            start += len(piece)
    whole.flush()


def digests_of(images: np.ndarray) -> np.ndarray:
    """(N, 16) uint8 of images (N, H, W, C)."""
    rows = np.ascontiguousarray(images).reshape(len(images), -1)
    found = b"".join(hashlib.blake2b(row.data, digest_size=DIGEST_BYTES).digest() for row in rows)
    return np.frombuffer(found, np.uint8).reshape(-1, DIGEST_BYTES)


@dataclass(frozen=True, eq=False)
class Part:
    """Images with their labels.

    x: (N, H, W, C) uint8, channels last; scaling lives in the model. A selection where it was split off.
    y: by task. binary: (N, 1) float32 of 0 and 1; multiclass: (N,) int32; multilabel: (N, L) float32 of 0 and 1;
        regression: (N, D) float32.
    groups: (N,) text, what each image was made of (a patient, a burst, a video), or None: images of one group are never
        on two sides of a split.
    known_digests: as `digests`, where they need not be computed. files: (N,) Path, or None where there are none.
    """

    x: Images
    y: np.ndarray
    groups: np.ndarray | None = None
    known_digests: np.ndarray | None = None
    files: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def digests(self) -> np.ndarray:
        """(N, 16) uint8, of each image what no other image has."""
        if self.known_digests is not None:
            return self.known_digests
        found = [digests_of(piece) for piece in pieces(self.x)]
        return np.concatenate(found) if found else np.zeros((0, DIGEST_BYTES), np.uint8)

    def at(self, places: np.ndarray) -> Part:
        """Some of these images, which are not copied. The arrays are read-only."""
        x = self.x if isinstance(self.x, Selection) else Selection(self.x, np.arange(len(self.x)))
        y = self.y[places]
        y.flags.writeable = False
        digests = self.__dict__.get("digests", self.known_digests)  # those that were computed already
        others = (self.groups, digests, self.files)
        return Part(x.at(places), y, *(None if each is None else each[places] for each in others))


@dataclass(frozen=True)
class Preprocessing:
    """How an image file became an input, so that `predict` and a served model can repeat it.

    Pixels are 8 bit; a JPEG is turned as its EXIF data says; transparency is dropped.
    """

    image_shape: tuple[int, int, int]
    fit: str = "stretch"
    resample: str = "bilinear"  # Pillow's, which antialiases when it shrinks


@dataclass(frozen=True, eq=False)
class RawData:
    """What a source hands over, before labels are encoded and parts split off.

    place: what error messages begin with: a file, a folder, or the source's name.
    train, val, test: x and y as they were stored; a part that is None is split off train.
    class_names: in the order of whole-number labels, when the source knows them.
    is_published: whether everybody takes its parts as they are, even where an image is in two of them.
    """

    name: str
    place: str
    train: Part
    val: Part | None = None
    test: Part | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    is_published: bool = False

    @property
    def parts(self) -> dict[str, Part]:
        """The parts that there are, train first."""
        given = {"train": self.train, "val": self.val, "test": self.test}
        return {name: part for name, part in given.items() if part is not None}


@dataclass(frozen=True, eq=False)
class Parts:
    """What a source has, in canonical form, nothing split off. The arrays are read-only.

    name, source, task, class_names, notes, preprocessing: as a `Dataset` has them; a class may be without images.
    place, is_published: as `RawData` has them. has_unit_pixels: as a `Dataset` has it. parts: by name, train first.
    """

    name: str
    source: str
    place: str
    task: str
    class_names: tuple[str, ...]
    parts: dict[str, Part]
    notes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    is_published: bool = False
    has_unit_pixels: bool = False

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        height, width, channels = self.parts["train"].x.shape[1:]
        return height, width, channels


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three disjoint parts, ready for training. The arrays are read-only.

    name: a slug that can name a folder.
    source: what the user asked for.
    class_names: binary: the classes 0 and 1; multiclass: the classes; multilabel: the labels; regression: the targets.
    notes: sentences worth showing: what was skipped, resized, converted or assumed.
    drawn: the parts that did not come with the data and were split off train.
    has_unit_pixels: whether pixels were handed over as floats from 0 to 1.
    folds: (N,) int, of each training image the fold in which it is for validation, from 2 on; `val` is fold 1. None
        where that is the only one.
    """

    name: str
    source: str
    task: str
    class_names: tuple[str, ...]
    train: Part
    val: Part
    test: Part
    notes: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    folds: np.ndarray | None = None
    has_unit_pixels: bool = False

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        height, width, channels = self.train.x.shape[1:]
        return height, width, channels

    @property
    def outputs(self) -> int:
        """Units of the output layer."""
        return 1 if self.task == "binary" else len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of task, class names, every part and the folds: equal if and only if the data is."""
        digest = self._begun("2")
        for part in (self.train, self.val, self.test):
            digest.update(part.digests.tobytes())
            digest.update(np.ascontiguousarray(part.y).data.cast("B"))
        if self.folds is not None:
            digest.update(self.folds.astype(np.int64).tobytes())
        return f"2:{digest.hexdigest()}"

    def has_fingerprint(self, known: str) -> bool:
        """Whether this is the data with a fingerprint, which may be of the kind that runs had before."""
        return known == (self.fingerprint if ":" in known else self._first_fingerprint())

    def _first_fingerprint(self) -> str:
        """A hash of all pixels, not of their digests: what is seen once a run is read twice."""
        digest = self._begun()
        for part in (self.train, self.val, self.test):
            for array in (part.x, part.y):
                for piece in pieces(array):
                    digest.update(np.ascontiguousarray(piece).data.cast("B"))
        return digest.hexdigest()

    def _begun(self, *kind: str) -> Any:
        arrays = [array for part in (self.train, self.val, self.test) for array in (part.x, part.y)]
        shapes = [[array.dtype.str, list(array.shape)] for array in arrays]
        return hashlib.sha256(json.dumps([*kind, self.task, list(self.class_names), shapes]).encode())
