"""An explanation as one page that works without a network: its numbers as tables, its pictures inside."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cnn_tuner.explain import feature_maps
from cnn_tuner.explain.numbers import Block, Cell, blocks, grid
from cnn_tuner.explain.parts import Convolution, Explanation, Output, Padding, StepView, Subject
from cnn_tuner.explain.pictures import drawn, map_colours
from cnn_tuner.explain.words import IDEAS, params, settings, shape
from cnn_tuner.report import templates
from cnn_tuner.spaces.architecture import STEPS

# The worked example: nine numbers under nine weights.
EXAMPLE_PATCH = np.array([[3, 5, 2], [9, 7, 5], [2, 0, 6]])
EXAMPLE_KERNEL = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]])
THUMB_PIXELS = 96
MOST_THUMB_BARS = 16
MOST_PIXELS = 12  # height and width of an image whose pixels are written as numbers


@dataclass(frozen=True)
class Figure:
    """A picture inside the page."""

    uri: str
    caption: str


@dataclass(frozen=True)
class Card:
    """A step in the path at the top: where it is told, and what it made of the image."""

    anchor: str
    step: int
    title: str
    where: str
    shape: str
    thumb: str


@dataclass(frozen=True)
class Section:
    """One step as it is told: its idea where it comes first, facts, what it did, numbers, pictures."""

    anchor: str
    step: int
    title: str
    layer: str
    settings: str
    idea: str
    facts: tuple[tuple[str, str], ...]
    sentences: tuple[str, ...]
    numbers: tuple[Block, ...]
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Group:
    """The steps of one block of layers; `note` says which of the steps it has not."""

    title: str
    note: str
    sections: tuple[Section, ...]


def render(explanation: Explanation, subject: Subject) -> str:
    """The page."""
    image = feature_maps.image_colours(explanation.image)
    views = explanation.views
    sections = _sections(views)
    missing = [step for step in STEPS if all(view.step != step for view in views)]
    last = views[-1].detail
    return templates.render(
        "explain.html",
        subject=subject,
        answer=explanation.answer,
        is_right=_is_right(explanation, subject),
        rows=_answer_rows(explanation),
        image=templates.data_uri(image, 320),
        image_words=f"{shape(explanation.image.shape)}: {_channels(explanation.image)}, numbers from 0 to 255",
        pixels=_pixels(explanation),
        example=[grid(EXAMPLE_PATCH, 0), grid(EXAMPLE_KERNEL, 0), grid(EXAMPLE_PATCH * EXAMPLE_KERNEL, 0)],
        cards=[_card(view, section) for view, section in zip(views, sections, strict=True)],
        groups=_groups(views, sections),
        missing=[(step, STEPS[step], IDEAS[step]) for step in missing],
        activation=last.activation if isinstance(last, Output) else "",
        params=f"{explanation.params:,}",
        macs=f"{explanation.macs:,}",
    )


def _is_right(explanation: Explanation, subject: Subject) -> bool | None:
    """Whether the answer is what the image shows; None where that is not known, or no question of yes or no."""
    answer = explanation.answer
    if subject.truth is None or answer.task == "regression":
        return None
    return subject.truth == (", ".join(answer.names[i] for i in answer.chosen) or "none of the labels")


def _channels(image: np.ndarray) -> str:
    return {1: "grey", 2: "grey with transparency", 3: "red, green and blue"}.get(
        image.shape[2], "red, green, blue and transparency"
    )


def _answer_rows(explanation: Explanation) -> list[tuple[str, str, float, bool]]:
    """Name, value, length of its bar in per cent, and whether it was chosen; likelier ones first."""
    answer = explanation.answer
    is_share = answer.task != "regression"
    top = 1.0 if is_share else max(map(abs, answer.values)) or 1.0
    order = (
        sorted(range(len(answer.values)), key=lambda i: -answer.values[i]) if is_share else range(len(answer.values))
    )
    return [
        (
            answer.names[i],
            f"{100 * answer.values[i]:.1f} %" if is_share else f"{answer.values[i]:.6g}",
            round(100 * abs(answer.values[i]) / top, 1),
            i in answer.chosen and is_share,
        )
        for i in list(order)[:MOST_PIXELS]
    ]


def _pixels(explanation: Explanation) -> list[list[list[Cell]]]:
    """A small grey image as its numbers, before and after scaling; nothing of a larger one."""
    image = explanation.image
    if image.shape[2] != 1 or max(image.shape[:2]) > MOST_PIXELS:
        return []
    return [grid(image[..., 0], 0), grid(explanation.scaled[..., 0], 2)]


def _sections(views: Iterable[StepView]) -> list[Section]:
    told: set[int] = set()
    found = []
    for index, view in enumerate(views, 1):
        idea = "" if view.step in told else IDEAS[view.step]
        told.add(view.step)
        figures = tuple(
            Figure(templates.data_uri(picture.pixels, 1), picture.caption)
            for picture in drawn(view)
            if not (view.kind == "output" and picture.name.endswith(view.name))  # the table of the answer says it
        )
        found.append(
            Section(
                f"step-{index}",
                view.step,
                title(view),
                view.name,
                settings(view.layer, view.kind),
                idea,
                tuple(_facts(view)),
                view.sentences,
                tuple(blocks(view)),
                figures,
            )
        )
    return found


def title(view: StepView) -> str:
    """`convolution`; of the layers that make up step 7, which one: `full connection: ReLU`."""
    if view.step != 7 or view.kind == "dense":
        return STEPS[view.step]
    return f"{STEPS[7]}: {({'relu': 'ReLU', 'dropout': 'dropout', 'output': 'the output'})[view.kind]}"


def _facts(view: StepView) -> Iterable[tuple[str, str]]:
    yield "in", shape(view.inputs.shape)
    yield "out", shape(view.outputs.shape)
    if isinstance(view.detail, Padding):
        yield "parameters", "0"
        return
    yield "parameters", params(view.layer)
    if view.layer.macs:
        yield "multiply-adds", f"{view.layer.macs:,}"
    if view.layer.receptive_field is not None:
        yield "one value sees", f"{shape((view.layer.receptive_field,) * 2)} pixels of the image"


def _card(view: StepView, section: Section) -> Card:
    place = _group(view.name)
    where = place.lower() if place.startswith(("Block", "Hidden")) else ""
    return Card(
        section.anchor, view.step, section.title, where, shape(view.outputs.shape), templates.data_uri(_thumb(view), 1)
    )


def _thumb(view: StepView) -> np.ndarray:
    """A small picture of what a step gives: one map, or the vector as a square, or a few values as bars."""
    values = view.outputs
    if values.ndim == 1 and values.size <= MOST_THUMB_BARS:
        return _thumb_bars(values)
    if values.ndim == 1:
        side = int(np.ceil(np.sqrt(values.size)))
        square = np.zeros(side * side)
        square[: values.size] = values
        return feature_maps.colours(square.reshape(side, side))
    every = -(-max(values.shape[:2]) // THUMB_PIXELS)
    kept = values[::every, ::every]
    if isinstance(view.detail, Padding):
        return map_colours(view, kept, view.detail.channel)
    channel = view.detail.filter if isinstance(view.detail, Convolution) else getattr(view.detail, "channel", 0)
    return feature_maps.colours(kept[..., channel])


def _thumb_bars(values: np.ndarray) -> np.ndarray:
    line = min(THUMB_PIXELS // 8, THUMB_PIXELS // len(values))
    picture = np.full((line * len(values), THUMB_PIXELS, 3), 255, np.uint8)
    top = float(np.abs(values).max()) or 1.0
    for index, value in enumerate(values):
        length = max(1, round(THUMB_PIXELS * abs(float(value)) / top))
        end = feature_maps.colours(np.array(np.sign(value)), 1.5)
        picture[index * line : (index + 1) * line - max(1, line // 5), :length] = end
    return picture


def _groups(views: Iterable[StepView], sections: list[Section]) -> list[Group]:
    """Blocks, the flattening, each hidden layer, the output."""
    kinds: dict[str, list[tuple[str, Section]]] = {}
    for view, section in zip(views, sections, strict=True):
        kinds.setdefault(_group(view.name), []).append((view.kind, section))
    return [
        Group(name, _note(name, {kind for kind, _ in parts}), tuple(section for _, section in parts))
        for name, parts in kinds.items()
    ]


def _group(name: str) -> str:
    """`Block 1`, `Flattening`, `Hidden layer 1`, `Output`."""
    word, _, rest = name.partition("_")
    number = rest.partition("_")[0]
    return {"block": f"Block {number}", "dense": f"Hidden layer {number}", "flatten": "Flattening"}.get(word, "Output")


def _note(group: str, kinds: set[str]) -> str:
    if not group.startswith("Block"):
        return ""
    absent = [word for kind, word in (("pooling", "max pooling"), ("dropout", "dropout")) if kind not in kinds]
    return f"This block is without {' and without '.join(absent)}." if absent else ""
