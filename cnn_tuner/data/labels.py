"""Labels of any sane kind to one encoding a task, and the task itself where nobody said it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cnn_tuner.data.encoders import (
    FEW_VALUES,
    LEAST_REPEATS,
    Arrays,
    Encoder,
    Labels,
    as_classes,
    as_label_rows,
    as_one_hot,
    as_targets,
    columns_of,
    refuse,
)
from cnn_tuner.errors import DataError

Choice = tuple[Encoder, tuple[str, ...]]


def encode(labels: Mapping[str, np.ndarray], task: str | None, class_names: Sequence[str] | None, place: str) -> Labels:
    """Encode the labels of all parts.

    labels: by array name, train's first; (N,) or (N, K) of text, whole numbers, bools or floats.
    task: one of TASKS, or None: text and whole numbers are classes, few whole floats too, other floats are targets;
        rows of 0 and 1 are one-hot classes if each sums to 1, else multilabel. Two classes are binary.
    class_names: the classes in the order of whole numbers (or all of the text), the labels, or the targets.

    Raises:
        DataError: a label breaks a rule, or does not allow `task`.
    """
    arrays = {name: _checked(array, f"{place}: {name}") for name, array in labels.items()}
    _check_alike(arrays, place)
    names = None if class_names is None else _checked_names(class_names, place)
    encoder, notes = _inferred(arrays, place) if task is None else (_chosen(task, arrays, place), ())
    encoded = encoder(arrays, task, names, place)
    return Labels(encoded.task, encoded.class_names, encoded.arrays, notes + encoded.notes)


def _checked(array: np.ndarray, place: str) -> np.ndarray:
    """(N,) or (N, K > 1), of text, whole numbers (bools among them) or finite floats."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise DataError(f"{place}: labels must be (N,) or (N, K), got {array.shape}")
    if array.dtype.kind not in "USbiuf":
        raise DataError(f"{place}: labels must be text, whole numbers, bools or floats, got {array.dtype}")
    if array.dtype.kind == "S":
        return _decoded(array, place)
    if array.dtype.kind == "f":
        refuse(~np.isfinite(array), array, place, "must be finite numbers")
    return array.astype(np.uint8) if array.dtype.kind == "b" else array


def _decoded(array: np.ndarray, place: str) -> np.ndarray:
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: labels must be UTF-8 text, got {error.object!r}") from error


def _check_alike(arrays: Arrays, place: str) -> None:
    first, *others = arrays
    for name in others:
        for what, value in (("kind", _kind), ("number of columns", columns_of)):
            if value(arrays[name]) != value(arrays[first]):
                raise DataError(
                    f"{place}: {name}: labels must have the {what} of {first} ({value(arrays[first])}), "
                    f"got {value(arrays[name])}"
                )


def _kind(array: np.ndarray) -> str:
    return {"U": "text", "f": "floats"}.get(array.dtype.kind, "whole numbers")


def _checked_names(names: Sequence[str], place: str) -> tuple[str, ...]:
    repeated = [name for index, name in enumerate(names) if name in names[:index]]
    if repeated:
        raise DataError(f"{place}: class_names: names must differ, got {repeated[0]!r} twice")
    return tuple(names)


def _chosen(task: str, arrays: Arrays, place: str) -> Encoder:
    """The encoder of a task that the user chose, if the labels allow it."""
    first, *_ = arrays
    kind, columns = _kind(arrays[first]), columns_of(arrays[first])
    if task in ("multilabel", "regression"):
        if kind == "text":
            raise DataError(f"{place}: {first}: --task {task} needs numbers, the labels are text")
        return as_label_rows if task == "multilabel" else as_targets
    if columns == 1:
        return as_classes
    if kind != "text" and _is_one_hot(arrays):
        return as_one_hot
    raise DataError(f"{place}: {first}: --task {task} needs one label a row, or one-hot rows; got {columns} columns")


def _inferred(arrays: Arrays, place: str) -> Choice:
    """The encoder that the labels ask for, and a note where that was a guess."""
    first, *_ = arrays
    kind, columns = _kind(arrays[first]), columns_of(arrays[first])
    if columns == 1:
        return _inferred_floats(arrays, place) if kind == "floats" else (as_classes, ())
    if kind == "text":
        raise DataError(f"{place}: {first}: text labels must be one a row, got {columns} columns")
    if _is_one_hot(arrays):
        return as_one_hot, ("every label row holds a single 1: taken as one-hot; --task multilabel overrules",)
    if _holds_only_0_and_1(arrays):
        return as_label_rows, ()
    if kind == "floats":
        return as_targets, ()
    raise DataError(
        f"{place}: {first}: rows of whole numbers must hold only 0 and 1; --task regression takes them as targets"
    )


def _inferred_floats(arrays: Arrays, place: str) -> Choice:
    if not all((array == np.rint(array)).all() for array in arrays.values()):
        return as_targets, ()
    first, *_ = arrays
    count, images = len(np.unique(arrays[first])), len(arrays[first])
    if count <= FEW_VALUES:
        return as_classes, (
            f"the float labels have {count} whole values: taken as classes; --task regression overrules",
        )
    if LEAST_REPEATS * count > images:
        return as_targets, ("the float labels are whole numbers: taken as targets; --task multiclass overrules",)
    raise DataError(
        f"{place}: {first}: floats of {count} whole values for {images} images may be classes or targets; "
        "say --task multiclass or --task regression"
    )


def _holds_only_0_and_1(arrays: Arrays) -> bool:
    return all(((array == 0) | (array == 1)).all() for array in arrays.values())


def _is_one_hot(arrays: Arrays) -> bool:
    return _holds_only_0_and_1(arrays) and all((array.sum(axis=1) == 1).all() for array in arrays.values())
