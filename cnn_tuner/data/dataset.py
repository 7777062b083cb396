"""What the rest of the package knows of data: frozen records of arrays in one canonical form."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np

PARTS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Part:
    """Images with their labels.

    x: (N, H, W, C) uint8, channels last; scaling lives in the model.
    y: by task. binary: (N, 1) float32 of 0 and 1; multiclass: (N,) int32; multilabel: (N, L) float32 of 0 and 1;
        regression: (N, D) float32.
    """

    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Preprocessing:
    """How an image file became an input, so that `predict` and a served model can repeat it.

    Pixels are 8 bit; a JPEG is turned as its EXIF data says; transparency is dropped.
    """

    image_shape: tuple[int, int, int]
    resample: str = "bilinear"  # Pillow's, which antialiases when it shrinks


@dataclass(frozen=True, eq=False)
class RawData:
    """What a source hands over, before labels are encoded and parts split off.

    place: what error messages begin with: a file, a folder, or the source's name.
    train, val, test: x and y as they were stored; a part that is None is split off train.
    class_names: in the order of whole-number labels, when the source knows them.
    """

    name: str
    place: str
    train: Part
    val: Part | None = None
    test: Part | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None

    @property
    def parts(self) -> dict[str, Part]:
        """The parts that there are, train first."""
        given = {"train": self.train, "val": self.val, "test": self.test}
        return {name: part for name, part in given.items() if part is not None}


@dataclass(frozen=True, eq=False)
class Parts:
    """What a source has, in canonical form, nothing split off. The arrays are read-only.

    name, source, task, class_names, notes, preprocessing: as a `Dataset` has them; a class may be without images.
    place: as `RawData` has it. parts: by name, train first.
    """

    name: str
    source: str
    place: str
    task: str
    class_names: tuple[str, ...]
    parts: dict[str, Part]
    notes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None

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
        """A sha256 over task, class names and every part: equal if and only if the data is."""
        parts = (self.train, self.val, self.test)
        arrays = [np.ascontiguousarray(array) for part in parts for array in (part.x, part.y)]
        header = [self.task, list(self.class_names), [[array.dtype.str, list(array.shape)] for array in arrays]]
        digest = hashlib.sha256(json.dumps(header).encode())
        for array in arrays:
            digest.update(array.data.cast("B"))
        return digest.hexdigest()
