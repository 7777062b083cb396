"""python:MODULE:FUNCTION: what a function returns: arrays, or data sets of Keras and TensorFlow.

A part is a pair of arrays (images, labels), a `tf.data.Dataset` of such pairs, batched or not, or a
`keras.utils.PyDataset`. The function returns one, which is for training; or a dict of them by part, whose key
`class_names` may name the classes; or a pair of them, for training and test, as `keras.datasets` has it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnn_tuner.data.dataset import PARTS, Part, RawData
from cnn_tuner.data.files import listed, one_line, shown
from cnn_tuner.data.memory import check_memory
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError, UsageError

NAMES = "class_names"
ENDLESS = -1  # how tf.data says that there is no end
MOST_CHANNELS = 4
CHECKED_BATCHES = 32  # memory is looked at after so many


def load(argument: str, options: DataOptions) -> RawData:
    """The arrays that the function returns or yields. Its module is looked for in the current folder too.

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
    names = None
    if isinstance(returned, Mapping):
        names = returned.get(NAMES)
        returned = {name: value for name, value in returned.items() if name != NAMES}
        if unknown := sorted(set(map(str, returned)) - set(PARTS)):
            raise DataError(f"{place}: returned a dict with {listed(unknown)}; its keys are {listed(PARTS)}, {NAMES}")
        if "train" not in returned:
            raise DataError(f"{place}: returned a dict without train")
    elif _is_pair_of_parts(returned):
        returned = dict(zip(("train", "test"), returned, strict=True))
    else:
        returned = {"train": returned}
    parts = {part: _part(returned[part], f"{place}: {part}", options) for part in PARTS if part in returned}
    return RawData(
        name=argument.rpartition(":")[2],
        place=place,
        train=parts["train"],
        val=parts.get("val"),
        test=parts.get("test"),
        class_names=None if names is None else tuple(map(str, names)),
    )


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
    return all(_is_dataset(each) or (isinstance(each, (tuple, list)) and _is_pair(each)) for each in returned)


def _is_pair(value: Any) -> bool:
    """Whether it is (images, labels), of which the first are arrays of three dimensions at least."""
    return len(value) == 2 and len(getattr(value[0], "shape", ())) >= 3


def _is_dataset(value: Any) -> bool:
    return _is_tensorflow(value) or _is_keras(value)


def _is_tensorflow(value: Any) -> bool:
    return hasattr(value, "as_numpy_iterator") and hasattr(value, "cardinality")


def _is_keras(value: Any) -> bool:
    return hasattr(value, "num_batches") and hasattr(value, "__getitem__")


def _part(value: Any, place: str, options: DataOptions) -> Part:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        x, y = (np.asarray(each) for each in value)
        check_memory(2 * x.nbytes, options, place)
        return Part(x, y)
    if not _is_dataset(value):
        kind = type(value).__name__
        raise DataError(f"{place}: must be (images, labels), a tf.data.Dataset or a keras.utils.PyDataset, got {kind}")
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
