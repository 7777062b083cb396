"""A data set as one page for a browser: its classes as contact sheets, and what is doubtful about it as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_tuner.audit.auditing import Audit
from cnn_tuner.audit.places import Place
from cnn_tuner.data.dataset import Part
from cnn_tuner.report import templates
from cnn_tuner.report.charts import Sheet
from cnn_tuner.report.texts import shape
from cnn_tuner.runs import folders
from cnn_tuner.runs.records import Baseline

MOST_TILES = 12  # of one contact sheet
MOST_CLASSES = 60  # of which a contact sheet is made
MOST_SHOWN = 40  # of each kind of what is doubtful; the JSON has all
MOST_PIXELS, LEAST_PIXELS = 96, 48  # height and width of a tile's picture, which the page itself magnifies


@dataclass(frozen=True)
class Tile:
    """A picture with a line below it."""

    uri: str
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Pictures under a heading; those of a row belong together. `aid` says what they are."""

    anchor: str
    heading: str
    aid: str
    rows: tuple[tuple[Tile, ...], ...]


def write(
    found: Audit,
    parts: Mapping[str, Part],
    file: Path,
    baselines: Sequence[Baseline] = (),
    augmented: Mapping[str, Sequence[Sequence[np.ndarray]]] | None = None,
) -> Path:
    """Writes the page.

    Args:
        found: what is known of the data.
        parts: the images.
        file: where to.
        baselines: what simple models reach on it.
        augmented: by what is done to images, rows of an image and what becomes of it.

    Raises:
        StorageError: the file cannot be written.
    """
    text = templates.render(
        "data.html",
        audit=found,
        shape=shape(found.image_shape),
        counts=_counts(found),
        baselines=_baselines(baselines),
        doubtful=_doubtful(found, parts),
        classes=_classes(found, parts["train"]),
        augmented=_augmented(augmented or {}),
    )
    folders.write_aside(file, text)
    return file


def _counts(found: Audit) -> Sheet:
    columns = ("class", *found.counts)
    rows = [
        (name, *(f"{counts[number]:,}" for counts in found.counts.values()))
        for number, name in enumerate(found.class_names)
        if all(found.counts.values())
    ]
    rows.append(("all images", *(f"{count:,}" for count in found.images.values())))
    return Sheet(columns, tuple(rows), frozenset(range(1, len(columns))))


def _baselines(baselines: Sequence[Baseline]) -> Sheet | None:
    if not baselines:
        return None
    metric = next(iter(baselines[0].test))
    rows = tuple((each.name, f"{each.images:,}", _number(each.test[metric])) for each in baselines)
    return Sheet(("simple model", "learned from", f"{metric} on the test part"), rows, frozenset({1, 2}))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _tile(place: Place, parts: Mapping[str, Part], caption: str = "") -> Tile:
    return Tile(_uri(parts[place.part].x[place.number]), caption or str(place))


def _uri(image: np.ndarray) -> str:
    step = max(1, -(-max(image.shape[:2]) // MOST_PIXELS))
    small = image[::step, ::step]
    if small.shape[2] in (2, 4):  # with alpha, which was no colour
        small = small[..., : small.shape[2] - 1]
    return templates.data_uri(small, LEAST_PIXELS)


def _doubtful(found: Audit, parts: Mapping[str, Part]) -> list[Gallery]:
    galleries = []

    def add(anchor: str, heading: str, aid: str, groups: Sequence[Sequence[Tile]], count: int) -> None:
        if count:
            more = f" The first {MOST_SHOWN} are shown." if count > MOST_SHOWN else ""
            galleries.append(Gallery(anchor, f"{heading}: {count:,}", aid + more, tuple(map(tuple, groups))))

    def rows(groups: Sequence[Sequence[Place]]) -> list[list[Tile]]:
        return [[_tile(place, parts) for place in group[:MOST_TILES]] for group in groups[:MOST_SHOWN]]

    add(
        "leaks",
        "Images that are in several parts",
        "Equal pixel for pixel: what was trained on measures nothing.",
        rows(found.leaks),
        len(found.leaks),
    )
    add(
        "contradictions",
        "Equal images with different labels",
        "One of the labels is wrong, or the task cannot be solved by the image alone.",
        rows(found.contradictions),
        len(found.contradictions),
    )
    doubts = [
        [_tile(each.place, parts, f"{each.place}: is {each.given}, looks like {each.likely}")]
        for each in found.doubts[:MOST_SHOWN]
    ]
    knows = "" if found.knows is None else f" It agrees with {100 * found.knows:.0f} % of all labels."
    add(
        "doubts",
        "Labels that are doubted",
        "A simple model that has learned from the other images takes them for something else, the surest first. "
        f"Look at them: many are right, and the hardest of their class.{knows}",
        [[tile for row in doubts for tile in row]] if doubts else [],
        len(found.doubts),
    )
    add(
        "near",
        "Pairs that show the same",
        "Not equal, but scaled, brightened or compressed again. Where one is trained on and the other tested with, the "
        "test is too easy: --group-by keeps them on one side.",
        rows(found.near),
        len(found.near),
    )
    add("copies", "Equal images", "Pixel for pixel.", rows(found.copies), len(found.copies))
    add(
        "constant",
        "Images of a single colour",
        "Nothing can be learned from them.",
        [[_tile(place, parts) for place in found.constant[:MOST_SHOWN]]],
        len(found.constant),
    )
    return galleries


def _classes(found: Audit, train: Part) -> list[Gallery]:
    """A contact sheet a class, of images that are evenly spread over it."""
    if found.task not in ("binary", "multiclass"):
        members = {"training images": np.arange(len(train))}
    else:
        classes = train.y.reshape(-1).astype(int)
        members = {name: np.flatnonzero(classes == number) for number, name in enumerate(found.class_names)}
    sheets = []
    for number, (name, places) in enumerate(list(members.items())[:MOST_CLASSES]):
        chosen = places[np.unique(np.linspace(0, len(places) - 1, MOST_TILES).astype(int))] if len(places) else []
        tiles = tuple(Tile(_uri(train.x[int(place)]), _caption(train, int(place))) for place in chosen)
        sheets.append(Gallery(f"class-{number}", name, f"{len(places):,} for training", (tiles,)))
    return sheets


def _caption(train: Part, number: int) -> str:
    return f"train[{number}]" if train.files is None else train.files[number].name


def _augmented(augmented: Mapping[str, Sequence[Sequence[np.ndarray]]]) -> list[Gallery]:
    return [
        Gallery(
            f"augmented-{number}",
            what,
            "The image, and what training may see of it.",
            tuple(tuple(Tile(_uri(image), "") for image in row) for row in rows),
        )
        for number, (what, rows) in enumerate(augmented.items())
    ]
