"""csv:FILE: a CSV or Parquet table with a row an image: its path, what it shows, and if one likes its part and group.

Paths are relative to the table's folder. Labels are one column of classes or numbers, a column of tags with `;` between
them, or a column a tag or target.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_tuner.data.columns import Table, read
from cnn_tuner.data.dataset import PARTS
from cnn_tuner.data.files import expanded, listed, shown
from cnn_tuner.data.layout import PART_OF
from cnn_tuner.data.listing import SUFFIXES
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.picture_files import Pictures, of_disk
from cnn_tuner.data.pictures import opened
from cnn_tuner.errors import DataError

# What columns are usually called, in lower case, the commonest first.
IMAGES = ("path", "file", "filename", "file_name", "image", "image_path", "filepath", "file_path", "img", "img_path")
LABELS = ("label", "labels", "class", "category", "target", "class_name", "y", "tags")
SPLITS = ("split", "part", "subset", "set")
GROUPS = ("group", "group_id")
SEEN = 50  # rows that tell whether a column holds the names of image files
_PADDED = re.compile(r"[+-]?0\d")
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,17})")


def load(argument: str, options: DataOptions) -> Pictures:
    """The images, with the labels of their rows.

    Raises:
        UsageError: a column that was named is not there.
        DataError: the table cannot be read, or breaks a rule.
    """
    path = expanded(argument)
    table = read(path)
    columns = _Columns.of(table, options)
    order, sizes = _parts(table, columns.split)
    y, class_names = _labels(table, columns.labels, options.task)
    paths = table.columns[columns.image]
    if (empty := next((index for index, cell in enumerate(paths) if not cell), None)) is not None:
        raise DataError(f"{table.row(empty)}: {shown(columns.image)} is empty; it must name an image")
    groups = None if columns.group is None else np.array(table.columns[columns.group])[order]
    return Pictures(
        name=path.stem,
        place=shown(path),
        files=[_place(path.parent.absolute(), paths[index]) for index in order],
        y=y[order],
        sizes=sizes,
        class_names=class_names,
        notes=columns.notes,
        groups=groups,
        opener=opened,
        stamp=of_disk,
    )


@dataclass(frozen=True)
class _Columns:
    """Which column says what."""

    image: str
    labels: tuple[str, ...]
    split: str | None
    group: str | None
    notes: tuple[str, ...]

    @staticmethod
    def of(table: Table, options: DataOptions) -> _Columns:
        """Those that were named, or else those that are called as such columns usually are."""

        def called(names: Sequence[str]) -> str | None:
            known = {name.lower(): name for name in reversed(list(table.columns))}
            return next((known[name] for name in names if name in known), None)

        image = (
            table.named(options.image_column, "--image-column")
            if options.image_column
            else called(IMAGES) or _of_files(table)
        )
        split = table.named(options.split_column, "--split-column") if options.split_column else called(SPLITS)
        group = table.named(options.group_column, "--group-column") if options.group_column else called(GROUPS)
        labels = tuple(table.named(each, "--label-column") for each in options.label_columns)
        if not labels:
            usual, others = called(LABELS), [n for n in table.columns if n not in (image, split, group)]
            if usual is None and len(others) != 1:
                told = f"which column has the labels? It has {table.names}; name it with --label-column"
                raise DataError(f"{shown(table.path)}: {told}")
            labels = (others[0] if usual is None else usual,)
        ignored = [name for name in table.columns if name not in (image, split, group, *labels)]
        told = f"labels from {listed(labels)}, images from {shown(image)}"
        notes = [told + (f"; ignored {listed(ignored)}" if ignored else "")]
        return _Columns(image, labels, split, group, tuple(notes))


def _of_files(table: Table) -> str:
    """The only column that names image files, by their suffixes."""
    found = [
        name
        for name, cells in table.columns.items()
        if all(cell.lower().endswith(SUFFIXES) for cell in cells[:SEEN] if cell) and any(cells[:SEEN])
    ]
    if len(found) != 1:
        raise DataError(
            f"{shown(table.path)}: which column has the paths of the images? It has {table.names}; name it with "
            "--image-column"
        )
    return found[0]


def _parts(table: Table, split: str | None) -> tuple[np.ndarray, dict[str, int]]:
    """The rows part by part, in their own order, and how many each part has."""
    if split is None:
        return np.arange(len(table)), {"train": len(table)}
    members: dict[str, list[int]] = {part: [] for part in PARTS}
    for index, cell in enumerate(table.columns[split]):
        part = PART_OF.get(cell.lower())
        if part is None:
            raise DataError(f"{table.row(index)}: {shown(split)} must be one of {listed(PARTS)}, got {shown(cell)}")
        members[part].append(index)
    if not members["train"]:
        raise DataError(f"{shown(table.path)}: {shown(split)}: no row is train")
    found = {part: rows for part, rows in members.items() if rows}
    return np.concatenate([np.array(rows) for rows in found.values()]), {
        part: len(rows) for part, rows in found.items()
    }


def _labels(table: Table, names: tuple[str, ...], task: str | None) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Labels (N,) or (N, K) as `cnn_tuner.data.labels` takes them, and the names of the columns of the latter."""
    if len(names) > 1:
        return np.stack([_numbers(table, name) for name in names], axis=1), names
    [name] = names
    cells = table.columns[name]
    between = "|" if table.delimiter == ";" else ";"
    if task in (None, "multilabel") and any(between in cell for cell in cells):
        return _tags([[tag.strip() for tag in cell.split(between) if tag.strip()] for cell in cells])
    if task == "multilabel" and not all(map(_is_number, cells)):
        return _tags([[cell] if cell else [] for cell in cells])
    for index, cell in enumerate(cells):
        if not cell:
            raise DataError(f"{table.row(index)}: {shown(name)} is empty; every image needs a label")
    if task == "regression":
        return _numbers(table, name), (name,)
    if all(_WHOLE.fullmatch(cell) for cell in cells):
        return np.array(cells).astype(np.int64), None
    if any(_PADDED.match(cell) for cell in cells):  # 007 is a name
        return np.array(cells), None
    try:
        return np.array([_finite(cell) for cell in cells]), None
    except ValueError:
        return np.array(cells), None


def _tags(rows: Sequence[Sequence[str]]) -> tuple[np.ndarray, tuple[str, ...]]:
    """(N, L) of 0 and 1, and the tags in sorted order."""
    tags = tuple(sorted({tag for row in rows for tag in row}))
    places = {tag: place for place, tag in enumerate(tags)}
    found = np.zeros((len(rows), len(tags)), np.uint8)
    for index, row in enumerate(rows):
        found[index, [places[tag] for tag in row]] = 1
    return found, tags


def _numbers(table: Table, name: str) -> np.ndarray:
    """(N,) float64, or whole numbers where all are."""
    found = np.empty(len(table))
    for index, cell in enumerate(table.columns[name]):
        try:
            found[index] = {"true": 1.0, "false": 0.0}.get(cell.lower(), math.nan) if cell.isalpha() else _finite(cell)
        except ValueError:
            found[index] = math.nan
        if math.isnan(found[index]):
            raise DataError(f"{table.row(index)}: {shown(name)} must be a number, got {shown(cell) or 'nothing'}")
    return found.astype(np.int64) if (found == np.rint(found)).all() else found


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _finite(cell: str) -> float:
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(cell)
    return value


def _place(folder: Path, cell: str) -> Path:
    """The file that a cell names; a table that Windows wrote has backslashes."""
    path = folder / Path(cell)
    if "\\" in cell and not path.exists():
        return folder / Path(cell.replace("\\", "/"))
    return path
