"""The sources of data by name. A new one is a module with a `load`, and a line in SOURCES."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnn_tuner.data import (
    archive,
    calling,
    columns,
    digits,
    folder,
    hugging_face,
    idx,
    keras_datasets,
    npy,
    npz,
    table,
    tfds,
)
from cnn_tuner.data.assembling import assemble, assemble_parts
from cnn_tuner.data.cache import Cache
from cnn_tuner.data.dataset import Dataset, Parts, RawData
from cnn_tuner.data.decoding import decoded
from cnn_tuner.data.files import expanded, reading, shown
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.picture_files import Pictures
from cnn_tuner.data.pictures import STRETCH
from cnn_tuner.errors import DataError, UsageError

# The options that mean something to some sources only, by field of DataOptions, and to which.
PICTURES = {"image_size": "--image-size", "channels": "--channels", "fit": "--fit", "group_by": "--group-by"}
TREE = {"follow_links": "--follow-links", "leave_out": "--leave-out"}
COLUMNS = {
    "image_column": "--image-column",
    "label_columns": "--label-column",
    "split_column": "--split-column",
    "group_column": "--group-column",
}
_FOR = {**dict.fromkeys(PICTURES, "image files"), **dict.fromkeys(TREE, "image folders")}
_FOR |= dict.fromkeys(COLUMNS, "tables of images")


@dataclass(frozen=True)
class Source:
    """A way to name data.

    usage: what the user writes: a name, or NAME:WHAT.
    load: gets what follows the colon, or the name; returns arrays, or image files that are decoded here.
    options: fields of DataOptions that mean something to it, of those that do not to every source.
    suffixes: of files that are meant where just their path is named.
    is_path: whether what follows the colon is one.
    """

    usage: str
    description: str
    load: Callable[[str, DataOptions], RawData | Pictures]
    options: Iterable[str] = ()
    suffixes: tuple[str, ...] = ()
    is_path: bool = True

    @property
    def takes(self) -> str:
        """What must follow the colon: DIR, FILE, or nothing."""
        return self.usage.partition(":")[2]

    @property
    def reads_pictures(self) -> bool:
        """Whether image files are decoded, which are made of any size."""
        return "image_size" in self.options


SOURCES = {
    "digits": Source("digits", "1797 handwritten digits of 8x8, bundled with scikit-learn", digits.load),
    "fashion_mnist": Source("fashion_mnist", "70000 clothes of 28x28, downloaded by Keras", keras_datasets.load),
    "mnist": Source("mnist", "70000 handwritten digits of 28x28, downloaded by Keras", keras_datasets.load),
    "cifar10": Source("cifar10", "60000 photos of 32x32 in 10 classes, downloaded by Keras", keras_datasets.load),
    "cifar100": Source("cifar100", "60000 photos of 32x32 in 100 classes, downloaded by Keras", keras_datasets.load),
    "idx": Source("idx:DIR", "a folder with the four .gz files of MNIST and its kin", idx.load),
    "npz": Source(
        "npz:FILE",
        "a NumPy file with x_train, y_train and maybe x_val, y_val, x_test, y_test",
        npz.load,
        suffixes=(".npz",),
    ),
    "npy": Source("npy:DIR", "a folder with x_train.npy, y_train.npy and maybe those of val and test", npy.load),
    "folder": Source(
        "folder:DIR",
        "DIR/<class>/*.png or DIR/{train,val,test}/<class>/; or just its path",
        folder.load,
        (*PICTURES, *TREE),
    ),
    "csv": Source(
        "csv:FILE",
        "a CSV or Parquet table with a path and a label an image; or just its path",
        table.load,
        (*PICTURES, *COLUMNS),
        columns.SUFFIXES,
    ),
    "archive": Source(
        "archive:FILE",
        "a zip or tar of class folders, read where it lies; or just its path",
        archive.load,
        (*PICTURES, "leave_out"),
        archive.SUFFIXES,
    ),
    "hf": Source(
        "hf:DIR",
        "a data set of Hugging Face on disk, as save_to_disk writes it (pip install 'cnn-tuner[hf]')",
        hugging_face.load,
        ("image_size", "channels", "fit", "image_column", "label_columns"),
    ),
    "tfds": Source(
        "tfds:NAME",
        "a data set of TensorFlow Datasets, downloaded by it (pip install 'cnn-tuner[tfds]')",
        tfds.load,
        ("image_size", "channels", "fit", "image_column", "label_columns"),
        is_path=False,
    ),
    "python": Source(
        "python:MODULE:FUNCTION",
        "what a function returns: arrays, a tf.data.Dataset or a keras.utils.PyDataset",
        calling.load,
        is_path=False,
    ),
}


def load(source: str, options: DataOptions, cache: Cache | None = None) -> Dataset:
    """The data that `source` names: a name or NAME:WHAT of SOURCES, or the path of a folder or file of images.

    Image files are decoded into the cache, where there is one, and mapped from it.

    Raises:
        UsageError: no source is called so, or an option means nothing to it.
        DataError: images or labels cannot be read or break a rule.
    """
    return assemble(_raw(source, options, cache), source, options)


def load_parts(source: str, options: DataOptions, cache: Cache | None = None) -> Parts:
    """As `load`, with nothing split off: one image is enough.

    Raises:
        UsageError, DataError: as `load`.
    """
    return assemble_parts(_raw(source, options, cache), source, options)


def load_given(value: Any, options: DataOptions, cache: Cache | None = None) -> Dataset:
    """As `load`, of data in memory or image files with their labels: see `cnn_tuner.data.calling`.

    Raises:
        UsageError: an option means nothing to it.
        DataError: images or labels cannot be read or break a rule.
    """
    return assemble(_raw_of_given(value, options, cache), calling.GIVEN, options)


def load_given_parts(value: Any, options: DataOptions, cache: Cache | None = None) -> Parts:
    """As `load_given`, with nothing split off: one image is enough.

    Raises:
        UsageError, DataError: as `load_given`.
    """
    return assemble_parts(_raw_of_given(value, options, cache), calling.GIVEN, options)


def _raw(source: str, options: DataOptions, cache: Cache | None) -> RawData:
    chosen, argument = _find(source)
    _check_options(options, chosen.options, shown(source))
    return _decoded(chosen.load(argument, options), options, cache)


def _raw_of_given(value: Any, options: DataOptions, cache: Cache | None) -> RawData:
    found = calling.of(value, calling.GIVEN, options, calling.GIVEN)
    _check_options(options, () if isinstance(found, RawData) else PICTURES, "data in memory")
    return _decoded(found, options, cache)


def _check_options(options: DataOptions, known: Iterable[str], source: str) -> None:
    """Raises UsageError for an option that means nothing to a source, of those that do not to every one."""
    for field, flag in (PICTURES | TREE | COLUMNS).items():
        if getattr(options, field) not in (None, False, (), STRETCH) and field not in known:
            raise UsageError(f"{flag}: is for {_FOR[field]}; {source} is none")


def _decoded(found: RawData | Pictures, options: DataOptions, cache: Cache | None) -> RawData:
    if isinstance(found, RawData):
        return found
    try:
        return decoded(found, options, cache)
    finally:
        found.close()


def reads_pictures(source: Any) -> bool:
    """Whether `source` names image files, which are made of any size, or is some in memory.

    Raises:
        UsageError, DataError: no source is called so.
    """
    return _find(source)[0].reads_pictures if isinstance(source, str) else calling.has_files(source)


def lasting(source: str) -> str:
    """What names the same data from whatever folder: paths are made absolute.

    Raises:
        UsageError, DataError: no source is called so.
    """
    if source == calling.GIVEN:
        return source
    chosen, argument = _find(source)
    if not chosen.takes or not chosen.is_path:
        return source
    name = next(name for name, each in SOURCES.items() if each is chosen)
    return f"{name}:{expanded(argument).absolute()}"


def is_there(source: str) -> bool:
    """Whether the file or folder that `source` names exists; what is bundled or downloaded always is."""
    name, _, argument = source.partition(":")
    if name in SOURCES:
        return not argument or not SOURCES[name].is_path or _holds(expanded(argument).exists)
    return _holds(expanded(source).exists)


def _find(source: str) -> tuple[Source, str]:
    """The source that is meant, and what its loader gets."""
    name, colon, argument = source.partition(":")
    if name in SOURCES:
        chosen = SOURCES[name]
        if bool(argument) != bool(chosen.takes) or bool(colon) != bool(chosen.takes):
            raise UsageError(f"--data {shown(source)}: must be written {chosen.usage}")
        return chosen, argument or name
    if source == calling.GIVEN:
        raise UsageError(f"--data {source}: so is data called that a Python program has; a folder is ./{source}")
    path = expanded(source)
    if source and _holds(path.is_dir):
        return SOURCES["folder"], source
    if source and _holds(path.is_file):
        for each in SOURCES.values():
            if path.name.lower().endswith(each.suffixes):
                return each, source
    if source and (_looks_like_path(source) or _holds(path.exists)):
        raise _not_a_folder(path)
    raise UsageError(f"--data {shown(source)}: no such data; choose {_choices()}{_did_you_mean(name)}")


def _holds(check: Callable[[], bool]) -> bool:
    """What a check of a path says; False where the system cannot tell."""
    try:
        return check()
    except (OSError, ValueError):  # no permission on the way, a name too long, a null byte
        return False


def _looks_like_path(source: str) -> bool:
    return source.startswith((".", "~")) or any(mark in source for mark in (os.sep, os.altsep) if mark)


def _not_a_folder(path: Path) -> Exception:
    try:
        with reading(path):
            path.stat()
    except ValueError as error:
        return DataError(f"{shown(path)}: cannot be read ({error})")
    except DataError as error:
        return error
    kinds = ", ".join(suffix for each in SOURCES.values() for suffix in each.suffixes)
    return UsageError(f"--data {shown(path)}: is a file of another kind than {kinds}; or name a folder of images")


def _choices() -> str:
    return ", ".join(source.usage for source in SOURCES.values()) + " or the path of a folder or file of images"


def _did_you_mean(name: str) -> str:
    close = difflib.get_close_matches(name.lower().replace("-", "_"), SOURCES, n=1)
    return f"; did you mean {SOURCES[close[0]].usage}?" if close else ""
