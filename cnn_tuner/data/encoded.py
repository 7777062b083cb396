"""Image files as bytes in a data set of others, row by row, with labels that the data set describes."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cnn_tuner.data.dataset import PARTS
from cnn_tuner.data.files import listed
from cnn_tuner.data.layout import PART_OF
from cnn_tuner.data.picture_files import Pictures
from cnn_tuner.data.pictures import BrokenImageError
from cnn_tuner.errors import DataError


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one part: `read` gets the file of the image with a number, `labels` are all of theirs."""

    read: Callable[[int], bytes | None]
    labels: Sequence[Any]

    def __len__(self) -> int:
        return len(self.labels)


def pictures(
    parts: Mapping[str, Rows], class_names: tuple[str, ...] | None, name: str, place: str, notes: tuple[str, ...] = ()
) -> Pictures:
    """The images of these parts, train first, not yet decoded. Labels that are lists are several for an image.

    Raises:
        DataError: there are no rows.
    """
    files = [Path(part) / str(number) for part, rows in parts.items() for number in range(len(rows))]
    if not files:
        raise DataError(f"{place}: has no rows")
    labels = [label for rows in parts.values() for label in rows.labels]

    def opener(path: Path) -> BinaryIO:
        content = parts[path.parts[0]].read(int(path.parts[1]))
        if content is None:
            raise BrokenImageError(f"{place}: {path}: has no image")
        return io.BytesIO(content)

    y, names = _several(labels, class_names) if isinstance(labels[0], (list, np.ndarray)) else (None, class_names)
    return Pictures(
        name=name,
        place=place,
        files=files,
        y=np.array(labels) if y is None else y,
        sizes={part: len(rows) for part, rows in parts.items()},
        class_names=names,
        notes=notes,
        opener=opener,
    )


def named_parts(names: Sequence[str], place: str) -> dict[str, str]:
    """What the parts are called there, by ours, train first.

    Raises:
        DataError: there is none for training.
    """
    found = {PART_OF[name.lower()]: name for name in names if name.lower() in PART_OF}
    if "train" not in found:
        raise DataError(f"{place}: has {listed(list(names))} but no train")
    return {part: found[part] for part in PARTS if part in found}


def _several(labels: Sequence[Any], class_names: tuple[str, ...] | None) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Lists of numbers of labels, or of their names, as rows of 0 and 1."""
    if class_names is None:
        class_names = tuple(sorted({str(each) for row in labels for each in row}))
        labels = [[class_names.index(str(each)) for each in row] for row in labels]
    found = np.zeros((len(labels), len(class_names)), np.uint8)
    for index, row in enumerate(labels):
        found[index, np.asarray(row, np.int64)] = 1
    return found, class_names
