"""Everything that is to be known of a data set before it is trained on, as one record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cnn_tuner.audit import copies, labels
from cnn_tuner.audit.places import Place, place_of
from cnn_tuner.data.dataset import Part, Parts, pieces
from cnn_tuner.metrics.tasks import TASKS

IMBALANCED = 10  # times as many images has the largest class as the smallest
Key = copies.Key


@dataclass(frozen=True)
class Doubt:
    """An image whose label a cheap model doubts: the label, what the image looks like, and by how much (0 to 2)."""

    place: Place
    given: str
    likely: str
    margin: float


@dataclass(frozen=True)
class Audit:
    """What was found.

    images: how many each part has. counts: how many of them each class (or label) has; none in a regression.
    means, deviations: of each channel of the training images, in 0..255.
    copies: groups of images that are equal pixel for pixel; leaks: those of them that are in several parts.
    near: pairs that show the same; near_leaks: how many of them are in two parts.
    contradictions: groups of equal images that have different labels.
    constant: images of a single colour.
    doubts: the labels that a cheap model finds suspicious, the most doubted first; knows: the share of images of which
        it says what the label says, having learned from the others; None where it was not asked.
    """

    name: str
    source: str
    task: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    images: dict[str, int]
    counts: dict[str, tuple[int, ...]]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    copies: tuple[tuple[Place, ...], ...] = ()
    leaks: tuple[tuple[Place, ...], ...] = ()
    near: tuple[tuple[Place, Place], ...] = ()
    contradictions: tuple[tuple[Place, ...], ...] = ()
    constant: tuple[Place, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    knows: float | None = None

    @property
    def near_leaks(self) -> tuple[tuple[Place, Place], ...]:
        """Near copies of which one is in another part."""
        return tuple(pair for pair in self.near if pair[0].part != pair[1].part)

    @property
    def imbalance(self) -> float | None:
        """How many times as many training images the largest class has as the smallest, where it is much."""
        if not TASKS[self.task].has_classes:
            return None
        counts = [count for count in self.counts["train"] if count]
        times = max(counts) / min(counts)
        return times if times >= IMBALANCED else None

    def to_dict(self) -> dict[str, Any]:
        """The findings for machines."""
        return asdict(self) | {"imbalance": self.imbalance}


def audit(found: Parts, seed: int = 0, tell: Callable[[str], None] = lambda what: None) -> Audit:
    """Looks at all images of all parts.

    Args:
        found: the data as it comes, nothing split off.
        seed: which images learn from each other where they are many.
        tell: what is looked at next.
    """
    parts = found.parts

    def place(key: Key) -> Place:
        return place_of(key[0], parts[key[0]], key[1])

    tell("counting")
    means, deviations = _colours(parts["train"])
    tell("looking for copies")
    equal = copies.exact(parts)
    near = copies.near(parts)
    tell("asking a simple model about the labels")
    doubts, knows = _doubts(found, seed)
    return Audit(
        found.name,
        found.source,
        found.task,
        found.image_shape,
        found.class_names,
        found.notes,
        {name: len(part) for name, part in parts.items()},
        {name: _counts(part, found.task, len(found.class_names)) for name, part in parts.items()},
        means,
        deviations,
        copies=tuple(tuple(map(place, group)) for group in equal),
        leaks=tuple(tuple(map(place, group)) for group in equal if len({part for part, _ in group}) > 1),
        near=tuple((place(one), place(two)) for one, two in near),
        contradictions=tuple(tuple(map(place, group)) for group in equal if _differ(group, parts)),
        constant=tuple(map(place, _constant(parts))),
        doubts=doubts,
        knows=knows,
    )


def _counts(part: Part, task: str, classes: int) -> tuple[int, ...]:
    if task == "regression":
        return ()
    if task == "multilabel":
        return tuple(int(count) for count in part.y.sum(axis=0))
    counted = Counter(part.y.reshape(-1).astype(int).tolist())
    return tuple(counted[number] for number in range(classes))


def _colours(part: Part) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel."""
    channels = part.x.shape[-1]
    total, squares, count = np.zeros(channels), np.zeros(channels), 0
    for piece in pieces(part.x):
        rows = piece.reshape(-1, channels).astype(np.float64)
        total, squares, count = total + rows.sum(axis=0), squares + (rows**2).sum(axis=0), count + len(rows)
    mean = total / count
    return tuple(mean.tolist()), tuple(np.sqrt(np.maximum(squares / count - mean**2, 0)).tolist())


def _constant(parts: Mapping[str, Part]) -> list[Key]:
    found = []
    for name, part in parts.items():
        start = 0
        for piece in pieces(part.x):
            flat = piece.reshape(len(piece), -1, piece.shape[-1])
            found += [(name, start + int(i)) for i in np.flatnonzero((flat == flat[:, :1]).all(axis=(1, 2)))]
            start += len(piece)
    return found


def _differ(group: list[Key], parts: Mapping[str, Part]) -> bool:
    """Whether equal images have different labels."""
    return len({parts[name].y[number].tobytes() for name, number in group}) > 1


def _doubts(found: Parts, seed: int) -> tuple[tuple[Doubt, ...], float | None]:
    """Of each part by itself, as each may have been labelled by others."""
    if found.task not in ("binary", "multiclass"):
        return (), None
    names, doubts, right, asked = found.class_names, [], 0.0, 0
    for name, part in found.parts.items():
        if len(part) < labels.LEAST:
            continue
        suspects, share = labels.suspects(part.x, part.y.reshape(-1), seed)
        right, asked = right + share * len(part), asked + len(part)
        doubts += [
            Doubt(place_of(name, part, each.number), names[each.given], names[each.likely], each.margin)
            for each in suspects
        ]
    doubts.sort(key=lambda each: -each.margin)
    return tuple(doubts), right / asked if asked else None
