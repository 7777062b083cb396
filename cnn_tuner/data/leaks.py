"""Images that are in two parts, pixel for pixel: what was trained on measures nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cnn_tuner.data.dataset import Part
from cnn_tuner.data.files import shown
from cnn_tuner.errors import DataError

PAIRS = (("test", "train"), ("val", "train"), ("test", "val"))


def kept_together(indices: Mapping[str, np.ndarray], digests: np.ndarray) -> dict[str, np.ndarray]:
    """The same parts, in which all copies of an image that are in several are in train.

    indices: by part, the images that were drawn for it; every one is in exactly one. digests: (N, 16) of all images.
    """
    _, numbers = np.unique(digests, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    part_of = np.empty(len(digests), np.int64)
    for place, chosen in enumerate(indices.values()):
        part_of[chosen] = place
    lowest = np.full(numbers.max() + 1, len(indices))
    highest = np.full(numbers.max() + 1, -1)
    np.minimum.at(lowest, numbers, part_of)
    np.maximum.at(highest, numbers, part_of)
    part_of[(lowest != highest)[numbers]] = list(indices).index("train")
    return {name: np.flatnonzero(part_of == place) for place, name in enumerate(indices)}


def has_copies(*parts: Part) -> bool:
    """Whether an image is there twice."""
    digests = np.concatenate([part.digests for part in parts])
    return len(np.unique(digests, axis=0)) < len(digests)


def check(parts: Mapping[str, Part], place: str, are_allowed: bool) -> tuple[str, ...]:
    """Notes on images that are in two parts, where that is allowed.

    Raises:
        DataError: there are some, and it is not.
    """
    found = []
    for name, other in PAIRS:
        seen = set(map(bytes, parts[other].digests))
        there = [number for number, digest in enumerate(parts[name].digests) if bytes(digest) in seen]
        if there:
            count = f"{len(there)} of {len(parts[name])} {name} images are also in {other}, pixel for pixel"
            if not are_allowed:
                files = parts[name].files
                example = "" if files is None else f", as {shown(files[there[0]])}"
                ways = "cnn-tuner data shows them; delete them, or go on with --allow-leakage"
                raise DataError(f"{place}: {count}{example}: what was trained on measures nothing; {ways}")
            found.append(count)
    return tuple(found)
