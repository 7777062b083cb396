"""From what a source handed over to one Dataset: canonical images, encoded labels, three parts, notes."""

from __future__ import annotations

import hashlib
import re

import numpy as np

from cnn_tuner.data.dataset import Dataset, Part, RawData
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
    _check_lengths(raw)
    images, image_notes = to_uint8({f"x_{name}": part.x for name, part in raw.parts.items()}, raw.place)
    labels = encode({f"y_{name}": part.y for name, part in raw.parts.items()}, options.task, raw.class_names, raw.place)
    given = {name: Part(images[f"x_{name}"], labels.arrays[f"y_{name}"]) for name in raw.parts}
    val_share = options.val_share(max(1, len(given["train"])))
    fractions = {"test": options.test_fraction, "val": val_share}  # test first: the same with or without val
    missing = {name: fraction for name, fraction in fractions.items() if name not in given}
    if missing:
        indices = split(given["train"].y, labels.task, labels.class_names, missing, options.seed, raw.place)
        whole = given["train"]
        given |= {name: Part(whole.x[chosen], whole.y[chosen]) for name, chosen in indices.items()}
    parts = {name: Part(_read_only(part.x), _read_only(part.y)) for name, part in given.items()}
    return Dataset(
        name=slug(raw.name),
        source=source,
        task=labels.task,
        class_names=labels.class_names,
        train=parts["train"],
        val=parts["val"],
        test=parts["test"],
        notes=(*raw.notes, *image_notes, *labels.notes, *_split_notes(parts, missing, options.seed), *_repeats(parts)),
        drawn=tuple(missing),
        preprocessing=raw.preprocessing,
    )


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
