"""The sources of data by name. A new one is a module with a `load`, and a line in SOURCES."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cnn_tuner.data import digits, folder, idx, keras_datasets, npz
from cnn_tuner.data.assembling import assemble, assemble_parts
from cnn_tuner.data.dataset import Dataset, Parts, RawData
from cnn_tuner.data.files import expanded, reading, shown
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError, UsageError


@dataclass(frozen=True)
class Source:
    """A way to name data.

    usage: what the user writes: a name, or NAME:WHAT.
    load: gets what follows the colon, or the name.
    reads_pictures: image files are decoded, so that --image-size and --channels mean something.
    """

    usage: str
    description: str
    load: Callable[[str, DataOptions], RawData]
    reads_pictures: bool = False

    @property
    def takes(self) -> str:
        """What must follow the colon: DIR, FILE, or nothing."""
        return self.usage.partition(":")[2]


SOURCES = {
    "digits": Source("digits", "1797 handwritten digits of 8x8, bundled with scikit-learn", digits.load),
    "fashion_mnist": Source("fashion_mnist", "70000 clothes of 28x28, downloaded by Keras", keras_datasets.load),
    "mnist": Source("mnist", "70000 handwritten digits of 28x28, downloaded by Keras", keras_datasets.load),
    "cifar10": Source("cifar10", "60000 photos of 32x32 in 10 classes, downloaded by Keras", keras_datasets.load),
    "cifar100": Source("cifar100", "60000 photos of 32x32 in 100 classes, downloaded by Keras", keras_datasets.load),
    "idx": Source("idx:DIR", "a folder with the four .gz files of MNIST and its kin", idx.load),
    "npz": Source("npz:FILE", "a NumPy file with x_train, y_train and maybe x_val, y_val, x_test, y_test", npz.load),
    "folder": Source(
        "folder:DIR", "DIR/<class>/*.png or DIR/{train,val,test}/<class>/; or just its path", folder.load, True
    ),
}


def load(source: str, options: DataOptions) -> Dataset:
    """The data that `source` names: a name or NAME:WHAT of SOURCES, or the path of an image folder.

    Raises:
        UsageError: no source is called so, or an option means nothing to it.
        DataError: images or labels cannot be read or break a rule.
    """
    return assemble(_raw(source, options), source, options)


def load_parts(source: str, options: DataOptions) -> Parts:
    """As `load`, with nothing split off: one image is enough.

    Raises:
        UsageError, DataError: as `load`.
    """
    return assemble_parts(_raw(source, options), source, options)


def _raw(source: str, options: DataOptions) -> RawData:
    chosen, argument = _find(source)
    if not chosen.reads_pictures:
        for flag, value in (("--image-size", options.image_size), ("--channels", options.channels)):
            if value is not None:
                raise UsageError(f"{flag}: is for image folders; {source} has images of a fixed shape")
        for flag, given in (("--follow-links", options.follow_links), ("--leave-out", options.leave_out)):
            if given:
                raise UsageError(f"{flag}: is for image folders; {source} is none")
    return chosen.load(argument, options)


def reads_pictures(source: str) -> bool:
    """Whether `source` names image files, which are made of any size.

    Raises:
        UsageError, DataError: no source is called so.
    """
    return _find(source)[0].reads_pictures


def lasting(source: str) -> str:
    """What names the same data from whatever folder: paths are made absolute.

    Raises:
        UsageError, DataError: no source is called so.
    """
    chosen, argument = _find(source)
    if not chosen.takes:
        return source
    name = next(name for name, each in SOURCES.items() if each is chosen)
    return f"{name}:{expanded(argument).absolute()}"


def is_there(source: str) -> bool:
    """Whether the file or folder that `source` names exists; what is bundled or downloaded always is."""
    name, _, argument = source.partition(":")
    if name in SOURCES:
        return not argument or _holds(expanded(argument).exists)
    return _holds(expanded(source).exists)


def _find(source: str) -> tuple[Source, str]:
    """The source that is meant, and what its loader gets."""
    name, colon, argument = source.partition(":")
    if name in SOURCES:
        chosen = SOURCES[name]
        if bool(argument) != bool(chosen.takes) or bool(colon) != bool(chosen.takes):
            raise UsageError(f"--data {shown(source)}: must be written {chosen.usage}")
        return chosen, argument or name
    path = expanded(source)
    if source and _holds(path.is_dir):
        return SOURCES["folder"], source
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
    hint = f"; did you mean npz:{shown(path)}?" if path.suffix == ".npz" else "; name a folder of images"
    return UsageError(f"--data {shown(path)}: is a file{hint}")


def _choices() -> str:
    return ", ".join(source.usage for source in SOURCES.values()) + " or the path of an image folder"


def _did_you_mean(name: str) -> str:
    close = difflib.get_close_matches(name.lower().replace("-", "_"), SOURCES, n=1)
    return f"; did you mean {SOURCES[close[0]].usage}?" if close else ""
