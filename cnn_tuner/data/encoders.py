"""One encoder a kind of label. Each takes the arrays of all parts at once, train's first, and holds them together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cnn_tuner.data.files import listed, shown
from cnn_tuner.errors import DataError

FEW_VALUES = 20  # of labels that may be classes however few images each has
LEAST_REPEATS = 3  # images that each value of more of them has, on average

Arrays = dict[str, np.ndarray]
Names = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Labels:
    """Encoded labels by array name, as Part.y describes them."""

    task: str
    class_names: Names
    arrays: Arrays
    notes: tuple[str, ...] = ()


# (arrays, task or None, class names or None, place) -> Labels
Encoder = Callable[[Arrays, str | None, Names | None, str], Labels]


def as_classes(arrays: Arrays, task: str | None, names: Names | None, place: str) -> Labels:
    """(N,) text, whole numbers, or floats that are whole: to (N, 1) float32 if binary, else (N,) int32."""
    first, *_ = arrays
    is_text = arrays[first].dtype.kind == "U"
    ids, names = _text_ids(arrays, names, place) if is_text else _number_ids(arrays, names, place)
    if task is None:
        task = "binary" if len(names) == 2 else "multiclass"
    if task == "multiclass":
        return Labels(task, names, {name: array.astype(np.int32) for name, array in ids.items()})
    if len(names) != 2:
        raise DataError(f"{place}: {first}: --task binary needs 2 classes, got {len(names)}; use --task multiclass")
    return Labels(task, names, {name: array[:, np.newaxis].astype(np.float32) for name, array in ids.items()})


def as_one_hot(arrays: Arrays, task: str | None, names: Names | None, place: str) -> Labels:
    """(N, K) rows with a single 1: classes, of which every column is one."""
    columns = _columns(arrays)
    names = names if names is not None else tuple(map(str, range(columns)))
    _check_count(names, columns, "one-hot columns", place)
    ids = {name: array.argmax(axis=1) for name, array in arrays.items()}
    return as_classes(ids, task if task is not None else "multiclass", names, place)


def as_label_rows(arrays: Arrays, _: str | None, names: Names | None, place: str) -> Labels:
    """(N,) or (N, L) of 0 and 1 to (N, L) float32."""
    columns = _columns(arrays)
    names = names if names is not None else tuple(f"label_{index}" for index in range(columns))
    _check_count(names, columns, "labels a row", place)
    for name, array in arrays.items():
        refuse((array != 0) & (array != 1), array, f"{place}: {name}", "of --task multilabel must be 0 or 1")
    rows = {name: array.reshape(len(array), columns).astype(np.float32) for name, array in arrays.items()}
    first, *_others = rows
    constant = [name for name, mean in zip(names, rows[first].mean(axis=0), strict=True) if mean in (0, 1)]
    notes = (f"labels that are the same in every row of {first}: {listed(constant)}",) if constant else ()
    return Labels("multilabel", names, rows, notes)


def as_targets(arrays: Arrays, _: str | None, names: Names | None, place: str) -> Labels:
    """(N,) or (N, D) numbers to (N, D) float32."""
    columns = _columns(arrays)
    if names is None:
        names = ("target",) if columns == 1 else tuple(f"target_{index}" for index in range(columns))
    _check_count(names, columns, "targets a row", place)
    for name, array in arrays.items():
        too_large = np.abs(array) > np.finfo(np.float32).max
        refuse(too_large, array, f"{place}: {name}", "must fit into 32 bit floats")
    targets = {name: array.reshape(len(array), columns).astype(np.float32) for name, array in arrays.items()}
    return Labels("regression", names, targets)


def refuse(bad: np.ndarray, array: np.ndarray, place: str, rule: str) -> None:
    """Raise a DataError that names the first bad label, if any is."""
    if bad.any():
        index = np.unravel_index(int(bad.argmax()), bad.shape)
        at = ", ".join(map(str, index))
        raise DataError(f"{place}[{at}]: labels {rule}, got {shown(str(array[index]))}")


def columns_of(array: np.ndarray) -> int:
    """1 for (N,), K for (N, K)."""
    return 1 if array.ndim == 1 else array.shape[1]


def _columns(arrays: Arrays) -> int:
    return columns_of(next(iter(arrays.values())))


def _text_ids(arrays: Arrays, names: Names | None, place: str) -> tuple[Arrays, Names]:
    """The position of each text in the names, which are train's, sorted, unless given."""
    first, *_ = arrays
    if names is None:
        names = tuple(map(str, np.unique(arrays[first])))
    _check_several(names, f"{place}: {first}")
    order = np.argsort(np.array(names))
    ranked = np.array(names)[order]
    ids = {}
    for name, array in arrays.items():
        found = np.searchsorted(ranked, array).clip(max=len(names) - 1)
        refuse(ranked[found] != array, array, f"{place}: {name}", f"out of range: must be one of {listed(names)}")
        ids[name] = order[found]
    return ids, names


def _number_ids(arrays: Arrays, names: Names | None, place: str) -> tuple[Arrays, Names]:
    """The position, as int64, of each whole number: without names among those of train, in ascending order.

    With names it is the number itself, unless the names are numbers: then it is that of its name.
    """
    first, *_ = arrays
    for name, array in arrays.items():
        refuse(array != np.rint(array), array, f"{place}: {name}", "out of range: classes must be whole numbers")
    if names is None:
        _check_repeats(arrays[first], f"{place}: {first}")
        numbers = np.unique(arrays[first]).astype(np.int64)
        names = tuple(map(str, numbers))
    elif all(name.removeprefix("-").isdecimal() for name in names):
        numbers = np.array(names).astype(np.int64)
    else:
        numbers = np.arange(len(names))
    _check_several(names, f"{place}: {first}")
    order = np.argsort(numbers)
    ids = {}
    for name, array in arrays.items():
        found = np.searchsorted(numbers[order], array).clip(max=len(numbers) - 1)
        rule = f"out of range: the {len(names)} classes are {_numbers(numbers[order])}"
        refuse(numbers[order][found] != array, array, f"{place}: {name}", rule)
        ids[name] = order[found]
    return ids, names


def _numbers(ascending: np.ndarray) -> str:
    first, last = ascending[0], ascending[-1]
    return f"{first}..{last}" if last - first == len(ascending) - 1 else listed(list(map(str, ascending)))


def _check_repeats(array: np.ndarray, place: str) -> None:
    """Refuses numbers of which most stand for one image alone: they measure something."""
    count = len(np.unique(array))
    if count > FEW_VALUES and LEAST_REPEATS * count > len(array):
        raise DataError(
            f"{place}: {count} different whole numbers for {len(array)} images are no classes; use --task regression"
        )


def _check_several(names: Names, place: str) -> None:
    if len(names) < 2:
        raise DataError(f"{place}: every label is {shown(names[0])!r}; at least two classes are needed")


def _check_count(names: Names, columns: int, what: str, place: str) -> None:
    if len(names) != columns:
        raise DataError(f"{place}: class_names: must have one name each for the {columns} {what}, got {len(names)}")
