"""Data of Python: what a function returns (python:MODULE:FUNCTION), or what a program has in memory.

A part is a pair of arrays (images, labels), a pair (paths of image files, labels), a `tf.data.Dataset` of pairs
of arrays, batched or not, or a `keras.utils.PyDataset`. Data is one part, which is for training; or a dict of them by
part, whose key `class_names` may name the classes; or a pair, for training and test, as `keras.datasets` has it.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnn_tuner.data.dataset import PARTS, Part, RawData
from cnn_tuner.data.files import expanded, listed, one_line, shown
from cnn_tuner.data.memory import check_memory
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.picture_files import Pictures, of_disk
from cnn_tuner.data.pictures import opened
from cnn_tuner.errors import DataError, UsageError

GIVEN = "memory"  # how data is called that a program has there
NAMES = "class_names"
ENDLESS = -1  # how tf.data says that there is no end
MOST_CHANNELS = 4
CHECKED_BATCHES = 32  # memory is looked at after so many


def load(argument: str, options: DataOptions) -> RawData | Pictures:
    """What the function returns or yields. Its module is looked for in the current folder too.

    Raises:
        UsageError: there is no such function.
        DataError: it fails, or returns something else.
    """
    place = f"python:{argument}"
    function = _function(argument)
    try:
        returned = function()
    except Exception as error:
        raise DataError(f"{place}: failed with {type(error).__name__}: {one_line(error)}") from error
    return of(returned, place, options, argument.rpartition(":")[2])


def of(value: Any, place: str, options: DataOptions, name: str) -> RawData | Pictures:
    """What a value holds: arrays, or image files with their labels. `place` begins messages; `name` is the data's.

    Raises:
        DataError: it is something else, or cannot be read.
    """
    given, names = _parts_of(value, place)
    class_names = None if names is None else tuple(map(str, names))
    if any(map(_has_files, given.values())):
        return _pictures(given, place, name, class_names)
    parts = {part: _part(each, f"{place}: {part}", options) for part, each in given.items()}
    return RawData(
        name=name,
        place=place,
        train=parts["train"],
        val=parts.get("val"),
        test=parts.get("test"),
        class_names=class_names,
    )


def has_files(value: Any) -> bool:
    """Whether a value holds image files.

    Raises:
        DataError: it is a dict, but not of parts.
    """
    return any(map(_has_files, _parts_of(value, GIVEN)[0].values()))


def _parts_of(value: Any, place: str) -> tuple[dict[str, Any], Any]:
    """What a value holds by part, train first, and the names of the classes, None where it has none."""
    names = None
    if isinstance(value, Mapping):
        names = value.get(NAMES)
        value = {part: each for part, each in value.items() if part != NAMES}
        if unknown := sorted(set(map(str, value)) - set(PARTS)):
            raise DataError(f"{place}: is a dict with {listed(unknown)}; its keys are {listed(PARTS)}, {NAMES}")
        if "train" not in value:
            raise DataError(f"{place}: is a dict without train")
    elif _is_pair_of_parts(value):
        value = dict(zip(("train", "test"), value, strict=True))
    else:
        value = {"train": value}
    return {part: value[part] for part in PARTS if part in value}, names


def _pictures(given: Mapping[str, Any], place: str, name: str, class_names: tuple[str, ...] | None) -> Pictures:
    """Image files, by part a pair of their paths and labels."""
    files: list[Path] = []
    labels: list[np.ndarray] = []
    for part, value in given.items():
        if not _has_files(value):
            raise DataError(f"{place}: {part}: must be image files with their labels, as another part is")
        paths, y = value[0], _array(value[1])
        if y.ndim == 0 or len(paths) != len(y):
            told = f"got {len(paths)} files and {len(y) if y.ndim else 'no'} labels"
            raise DataError(f"{place}: {part}: files and labels must be equally many, {told}")
        files += [expanded(os.fspath(path)).absolute() for path in paths]
        labels.append(y)
    sizes = {part: len(y) for part, y in zip(given, labels, strict=True)}
    if len({(y.shape[1:], y.dtype.kind) for y in labels}) > 1:
        raise DataError(f"{place}: labels must be of one kind and shape in all parts")
    y = np.concatenate(labels)
    return Pictures(name, place, files, y, sizes, class_names, opener=opened, stamp=of_disk)


def _function(argument: str) -> Any:
    module_name, _, name = argument.partition(":")
    if not module_name or not name:
        raise UsageError(f"--data python:{shown(argument)}: must be written python:MODULE:FUNCTION")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the module is a person's own, and may raise anything
        told = f"{type(error).__name__}: {one_line(error)}"
        raise UsageError(f"--data python:{shown(argument)}: {module_name} cannot be imported ({told})") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UsageError(f"--data python:{shown(argument)}: {module_name} has no function {shown(name)}")
    return function


def _is_pair_of_parts(returned: Any) -> bool:
    """Whether it is (train, test), each a pair or a data set, and no pair of arrays."""
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        return False
    return all(_is_dataset(each) or _has_files(each) or _is_pair(each) for each in returned)


def _is_pair(value: Any) -> bool:
    """Whether it is (images, labels), of which the first are arrays of three dimensions at least."""
    return isinstance(value, (tuple, list)) and len(value) == 2 and len(getattr(value[0], "shape", ())) >= 3


def _has_files(value: Any) -> bool:
    """Whether it is (paths of image files, labels)."""
    if not isinstance(value, (tuple, list)) or len(value) != 2 or isinstance(value[0], (str, os.PathLike)):
        return False
    paths = value[0]
    return (
        hasattr(paths, "__len__")
        and len(paths) > 0
        and len(getattr(paths, "shape", (1,))) == 1
        and all(isinstance(path, (str, os.PathLike)) for path in paths)
    )


def _array(value: Any) -> np.ndarray:
    """Labels as an array; text that pandas or NumPy keep as objects is text again."""
    found = np.asarray(value)
    if found.dtype == object and all(isinstance(each, str) for each in found.flat):
        return found.astype(str)
    return found


def _is_dataset(value: Any) -> bool:
    return _is_tensorflow(value) or _is_keras(value)


def _is_tensorflow(value: Any) -> bool:
    return hasattr(value, "as_numpy_iterator") and hasattr(value, "cardinality")


def _is_keras(value: Any) -> bool:
    return hasattr(value, "num_batches") and hasattr(value, "__getitem__")


def _part(value: Any, place: str, options: DataOptions) -> Part:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        x, y = np.asarray(value[0]), _array(value[1])
        check_memory(2 * x.nbytes, options, place)
        return Part(x, y)
    if not _is_dataset(value):
        kind = type(value).__name__
        raise DataError(
            f"{place}: must be (images, labels), (paths of images, labels), a tf.data.Dataset or a "
            f"keras.utils.PyDataset, got {kind}"
        )
    pieces: list[tuple[np.ndarray, np.ndarray]] = []
    taken = 0
    for number, piece in enumerate(_pieces(value, place)):
        pieces.append(piece)
        taken += piece[0].nbytes
        if number % CHECKED_BATCHES == 0:
            check_memory(3 * taken, options, place)  # the pieces, all of them together, and what is split off
    if not pieces:
        raise DataError(f"{place}: yields nothing")
    try:
        return Part(*(np.concatenate(arrays) for arrays in zip(*pieces, strict=True)))
    except ValueError as error:
        raise DataError(f"{place}: yields images or labels of several shapes ({one_line(error)})") from error


def _pieces(value: Any, place: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of images (N, H, W) or (N, H, W, C) and of labels (N,) or (N, K)."""
    if _is_tensorflow(value):
        if int(value.cardinality()) == ENDLESS:
            raise DataError(f"{place}: repeats without an end; leave out .repeat()")
        found = value.as_numpy_iterator()
    else:
        found = (value[index] for index in range(value.num_batches or len(value)))
    while True:
        try:
            each = next(found)
        except StopIteration:
            return
        except Exception as error:
            raise DataError(f"{place}: failed with {type(error).__name__}: {one_line(error)}") from error
        if not isinstance(each, (tuple, list)) or len(each) != 2:
            raise DataError(f"{place}: must yield pairs (images, labels)")
        x, y = (np.asarray(array) for array in each)
        if y.ndim == 0 or x.ndim == 2 or (x.ndim == 3 and x.shape[2] <= MOST_CHANNELS):  # a single image
            x, y = x[np.newaxis], y[np.newaxis]
        yield x, y
