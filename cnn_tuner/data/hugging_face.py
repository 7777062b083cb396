"""hf:DIR: a data set of Hugging Face's `datasets` that lies on disk, as its `save_to_disk` writes it."""

from __future__ import annotations

from functools import partial
from typing import Any

from cnn_tuner.data import encoded
from cnn_tuner.data.encoded import Rows
from cnn_tuner.data.files import expanded, listed, one_line, reading, shown
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.picture_files import Pictures
from cnn_tuner.errors import DataError, UsageError


def load(argument: str, options: DataOptions) -> Pictures:
    """The images, with the labels of their rows.

    Raises:
        UsageError: a column that was named is not there.
        DataError: the package is not installed, the folder cannot be read, has no images or several columns of them.
    """
    folder = expanded(argument)
    with reading(folder):
        folder.stat()
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"{shown(folder)}: needs datasets; install it with pip install 'cnn-tuner[hf]'") from error
    try:
        stored = datasets.load_from_disk(str(folder))
    except Exception as error:  # what lies there may be anything
        told = f"is no data set that save_to_disk wrote ({one_line(error)})"
        raise DataError(f"{shown(folder)}: {told}") from error
    splits = stored if isinstance(stored, dict) else {"train": stored}
    parts = encoded.named_parts(list(splits), shown(folder))
    features = splits[parts["train"]].features
    image = _column(options.image_column, "--image-column", features, datasets.Image, shown(folder), "images")
    label = _label(options.label_columns, features, image, shown(folder), datasets.ClassLabel)
    rows = {}
    for part, name in parts.items():
        images = splits[name].select_columns([image]).cast_column(image, datasets.Image(decode=False))
        rows[part] = Rows(partial(_file, images, image), splits[name][label][:])
    kind = features[label]
    kind = getattr(kind, "feature", kind)  # that of the items of a list
    names = tuple(kind.names) if isinstance(kind, datasets.ClassLabel) else None
    notes = (f"labels from {label}, images from {image}",)
    return encoded.pictures(rows, names, folder.resolve().name, shown(folder), notes)


def _file(images: Any, column: str, number: int) -> bytes | None:
    """The file of an image, which the data set holds or names."""
    cell = images[number][column]
    if cell is None or cell["bytes"] is not None or not cell["path"]:
        return None if cell is None else cell["bytes"]
    path = expanded(cell["path"])
    with reading(path):
        return path.read_bytes()


def _column(asked: str | None, flag: str, features: Any, kind: Any, place: str, what: str) -> str:
    if asked is not None:
        if asked not in features:
            raise UsageError(f"{flag} {shown(asked)}: {place} has no such column; has {listed(list(features))}")
        return asked
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(found) != 1:
        raise DataError(f"{place}: which column has the {what}? It has {listed(list(features))}; name it with {flag}")
    return found[0]


def _label(asked: tuple[str, ...], features: Any, image: str, place: str, kind: Any) -> str:
    if len(asked) > 1:
        raise UsageError("--label-column: a data set of Hugging Face has its labels in one column")
    others = {name: feature for name, feature in features.items() if name != image}
    if not asked and len(others) == 1:
        return next(iter(others))
    return _column(asked[0] if asked else None, "--label-column", others, kind, place, "labels")
