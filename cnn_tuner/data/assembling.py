"""From what a source handed over to one Dataset: canonical images, encoded labels, three parts, notes."""

from __future__ import annotations

import hashlib
import re

import numpy as np

from cnn_tuner.data.dataset import Dataset, Part, Parts, RawData
from cnn_tuner.data.encoders import columns_of, refuse
from cnn_tuner.data.files import listed, shown
from cnn_tuner.data.images import to_uint8
from cnn_tuner.data.labels import encode
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.splitting import split
from cnn_tuner.errors import DataError

_MAX_NAME = 60  # characters; the name becomes part of a folder's


def assemble(raw: RawData, source: str, options: DataOptions) -> Dataset:
    """Check everything that holds for data of any source, and make the Dataset.

    Raises:
        DataError: images or labels break a rule, or are too few for a split.
    """
    return divided(assemble_parts(raw, source, options), options)


def assemble_parts(raw: RawData, source: str, options: DataOptions) -> Parts:
    """The parts that a source has, in canonical form; nothing is split off, so that one image is enough.

    Raises:
        DataError: images or labels break a rule.
    """
    _check_lengths(raw)
    images, image_notes = to_uint8({f"x_{name}": part.x for name, part in raw.parts.items()}, raw.place)
    arrays, names = {f"y_{name}": part.y for name, part in raw.parts.items()}, raw.class_names
    if options.known_classes is not None:
        arrays, names = _of_known(arrays, names, options.known_classes, raw.place), options.known_classes
    labels = encode(arrays, options.task, names, raw.place)
    return Parts(
        name=slug(raw.name),
        source=source,
        place=raw.place,
        task=labels.task,
        class_names=labels.class_names,
        parts={
            name: Part(_read_only(images[f"x_{name}"]), _read_only(labels.arrays[f"y_{name}"])) for name in raw.parts
        },
        notes=(*raw.notes, *image_notes, *labels.notes),
        preprocessing=raw.preprocessing,
    )


def divided(found: Parts, options: DataOptions) -> Dataset:
    """The Dataset of what a source has, the parts that it lacks split off train.

    Raises:
        DataError: there are too few images for that, or a class has none to train on.
    """
    given = dict(found.parts)
    _check_classes(given["train"], found)
    val_share = options.val_share(max(1, len(given["train"])))
    fractions = {"test": options.test_fraction, "val": val_share}  # test first: the same with or without val
    missing = {name: fraction for name, fraction in fractions.items() if name not in given}
    if missing:
        whole = given["train"]
        indices = split(whole.y, found.task, found.class_names, missing, options.seed, found.place)
        given |= {
            name: Part(_read_only(whole.x[chosen]), _read_only(whole.y[chosen])) for name, chosen in indices.items()
        }
    return Dataset(
        name=found.name,
        source=found.source,
        task=found.task,
        class_names=found.class_names,
        train=given["train"],
        val=given["val"],
        test=given["test"],
        notes=(*found.notes, *_split_notes(given, missing, options.seed), *_repeats(given)),
        drawn=tuple(missing),
        preprocessing=found.preprocessing,
    )


def _of_known(
    arrays: dict[str, np.ndarray], names: tuple[str, ...] | None, known: tuple[str, ...], place: str
) -> dict[str, np.ndarray]:
    """The labels of data with classes of its own, for a model that knows these: the same name is the same class."""
    if names is None or names == known:
        return arrays
    if not set(names) <= set(known) or any(columns_of(array) > 1 for array in arrays.values()):
        raise DataError(f"{place}: has the classes {listed(names)}, but the model knows {listed(known)}")
    own = np.array(names)
    return {
        name: array if array.dtype.kind in "US" else own[_indices(array, len(own), f"{place}: {name}")]
        for name, array in arrays.items()
    }


def _indices(array: np.ndarray, count: int, place: str) -> np.ndarray:
    refuse(~np.isin(array, np.arange(count)), array, place, f"out of range: the {count} classes are 0..{count - 1}")
    return array.astype(np.int64)


def _check_classes(train: Part, found: Parts) -> None:
    """Each class needs an image that it is learned from."""
    if found.task in ("binary", "multiclass"):
        missing = np.setdiff1d(np.arange(len(found.class_names)), train.y)
        if missing.size:
            name = shown(found.class_names[missing[0]])
            raise DataError(f"{found.place}: y_train: class {name!r} has no image; every class needs some in train")


def slug(name: str) -> str:
    """`name` as a folder may be called anywhere: a-z, 0-9, dots and hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:_MAX_NAME].rstrip("-.") or "data"


def _check_lengths(raw: RawData) -> None:
    for name, part in raw.parts.items():
        if part.x.ndim and part.y.ndim and len(part.x) != len(part.y):
            raise DataError(
                f"{raw.place}: x_{name} and y_{name}: must be equally long, got {len(part.x)} images "
                f"and {len(part.y)} labels"
            )


def _read_only(array: np.ndarray) -> np.ndarray:
    """A view that refuses to be written: the fingerprint is computed once."""
    view = array.view()
    view.flags.writeable = False
    return view


def _split_notes(parts: dict[str, Part], missing: dict[str, float], seed: int) -> tuple[str, ...]:
    whole = sum(len(parts[name]) for name in ("train", *missing))
    return tuple(f"{name}: {len(parts[name])} of {whole} images, stratified, seed {seed}" for name in missing)


def _repeats(parts: dict[str, Part]) -> tuple[str, ...]:
    """Notes on images that are in two parts, pixel for pixel: what was trained on measures nothing."""
    digests = {name: [_digest(row) for row in part.x.reshape(len(part), -1)] for name, part in parts.items()}
    notes = []
    for name, other in (("test", "train"), ("val", "train"), ("test", "val")):
        seen = set(digests[other])
        count = sum(digest in seen for digest in digests[name])
        if count:
            notes.append(f"{count} of {len(digests[name])} {name} images are also in {other}, pixel for pixel")
    return tuple(notes)


def _digest(row: np.ndarray) -> bytes:
    return hashlib.blake2b(row.data, digest_size=16).digest()
