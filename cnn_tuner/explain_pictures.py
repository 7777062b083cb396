"""The pictures of an explanation: what each of the seven steps did, for the page, for PNG files and for TensorBoard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cnn_tuner import feature_maps
from cnn_tuner.architecture import STEPS
from cnn_tuner.explain_words import count, number
from cnn_tuner.explanation import (
    Convolution,
    Dropout,
    Explanation,
    Flattening,
    FullConnection,
    Output,
    Padding,
    Pooling,
    Relu,
    StepView,
)

PAIR_WIDTH = 320  # pixels of each of two maps that stand side by side
MOST_BARS = 20
SCALE_WORDS = "blue is negative, white 0, orange positive"


@dataclass(frozen=True)
class Picture:
    """One picture (H, W, 3) uint8; `caption` says what it shows, for those who see it and for those who do not."""

    name: str
    pixels: np.ndarray
    caption: str


def pictures(explanation: Explanation) -> dict[str, np.ndarray]:
    """Every picture by its name, such as `step-1-convolution/block_1_conv_1`; (H, W, 3) uint8, 400 pixels wide or more.

    The image is there, and all seven steps, but for what the network has not: without pooling there is no step 4. A network without
    dropout in its blocks has a step 5 in which nothing is dropped.
    """
    found = [picture for view in explanation.views for picture in drawn(view)]
    image = feature_maps.image_colours(explanation.image)
    names = {"image/input": feature_maps.magnified(image, feature_maps.times_for(image.shape[1]))}
    names |= {picture.name: picture.pixels for picture in found}
    if not any(view.step == 5 for view in explanation.views):
        flatten = next(view for view in explanation.views if view.kind == "flatten")
        names[f"{prefix(5)}/none"] = feature_maps.tiled(flatten.inputs)
    return dict(sorted(names.items()))


def prefix(step: int) -> str:
    """`step-4-max-pooling`."""
    return f"step-{step}-{STEPS[step].lower().replace(' ', '-')}"


def drawn(view: StepView) -> list[Picture]:
    """The pictures of one step, the one that says most first."""
    name = f"{prefix(view.step)}/{view.name}"
    match view.detail:
        case Convolution() as detail:
            return _convolution(name, view, detail)
        case Padding() as detail:
            return [_padding(name, view, detail)]
        case Relu() as detail:
            return _relu(name, view, detail)
        case Pooling() as detail:
            return _pooling(name, view, detail)
        case Dropout() as detail:
            return [_dropout(name, view, detail)]
        case Flattening():
            caption = f"The vector in reading order, {count(view.outputs.size, 'value')}: {SCALE_WORDS}."
            return [Picture(name, feature_maps.in_rows(view.outputs), caption)]
        case FullConnection():
            caption = f"The value of each unit before ReLU, unit 0 first: {SCALE_WORDS}."
            return [Picture(name, feature_maps.in_rows(view.outputs), caption)]
        case Output() as detail:
            return _output(name, view, detail)


def _maps(name: str, maps: np.ndarray, framed: int, what: str) -> Picture:
    total, kept = maps.shape[2], len(feature_maps.shown_maps(maps))
    of = f"{count(total, 'map')}" if kept == total else f"the {kept} most active of {count(total, 'map')}"
    framed_words = f"; map {framed} is framed" if total > 1 else ""
    caption = f"{what}: {of}, each in the colours of its own range ({SCALE_WORDS}){framed_words}."
    return Picture(name, feature_maps.tiled(maps, framed if total > 1 else None), caption)


def _convolution(name: str, view: StepView, detail: Convolution) -> list[Picture]:
    of = view.layer.settings
    return [
        _maps(name, view.outputs, detail.filter, "What the convolution gives, before ReLU"),
        _place(name, view.outputs[..., detail.filter], detail, of["kernel_size"]),
    ]


def _place(name: str, outputs: np.ndarray, detail: Convolution, size: int) -> Picture:
    times = feature_maps.times_for(outputs.shape[1])
    picture = feature_maps.magnified(feature_maps.colours(outputs), times)
    feature_maps.frame(picture, (detail.row * times, detail.column * times, times, times))
    where = f"row {detail.row}, column {detail.column}"
    return Picture(f"{name}/filter", picture, f"The map of filter {detail.filter}; framed is {where}, calculated here.")


def _padding(name: str, view: StepView, detail: Padding) -> Picture:
    """The padded map with its zeros hatched, and where the kernel begins and goes next."""
    of = view.layer.settings
    size, strides = of["kernel_size"], of["strides"]
    values = view.outputs[..., detail.channel]
    times = feature_maps.times_for(values.shape[1])
    picture = feature_maps.magnified(feature_maps.colours(values), times)
    is_zero = np.pad(np.zeros(view.inputs.shape[:2], bool), (detail.height, detail.width), constant_values=True)
    is_zero = feature_maps.magnified(is_zero, times)
    picture[is_zero] = feature_maps.hatched(*picture.shape[:2])[is_zero]
    caption = f"Map {detail.channel} of what comes in" if view.inputs.shape[2] > 1 else "What comes in"
    caption += "; hatched are the zeros of the padding. " if detail.zeros else ", without padding. "
    caption += f"Framed in green is where the {size} x {size} kernel begins"
    if view.layer.output_shape[1] > 1:
        box = (0, strides * times, size * times, size * times)
        feature_maps.frame(picture, box, feature_maps.SECOND_FRAME)
        caption += f", in pink where it goes next, {count(strides, 'pixel')} on"
    feature_maps.frame(picture, (0, 0, size * times, size * times))
    return Picture(name, picture, caption + ".")


def _relu(name: str, view: StepView, detail: Relu) -> list[Picture]:
    if view.outputs.ndim == 1:
        picture = feature_maps.in_rows(view.outputs)
        return [Picture(name, picture, "The value of each unit after ReLU: white is 0, orange positive.")]
    before, after = view.inputs[..., detail.channel], view.outputs[..., detail.channel]
    largest, times = float(np.abs(before).max()), feature_maps.times_for(before.shape[1], PAIR_WIDTH)
    pair = [feature_maps.magnified(feature_maps.colours(values, largest), times) for values in (before, after)]
    caption = f"Map {detail.channel} before ReLU, left, and after it: what was blue is 0."
    return [
        Picture(f"{name}/before-and-after", feature_maps.beside(*pair), caption),
        _maps(name, view.outputs, detail.channel, "After ReLU"),
    ]


def _pooling(name: str, view: StepView, detail: Pooling) -> list[Picture]:
    """The map with what lost faded, beside what won."""
    of = view.layer.settings
    before, after = view.inputs[..., detail.channel], view.outputs[..., detail.channel]
    largest, times = float(np.abs(before).max()), feature_maps.times_for(before.shape[1], PAIR_WIDTH)
    shown = feature_maps.magnified(feature_maps.colours(before, largest), times)
    has_lost = np.ones(before.size, bool)
    has_lost[detail.winners[..., detail.channel].ravel()] = False
    has_lost = feature_maps.magnified(has_lost.reshape(before.shape), times)
    shown[has_lost] = feature_maps.faded(shown)[has_lost]
    top, left, side = detail.row * of["strides"] * times, detail.column * of["strides"] * times, of["pool_size"] * times
    feature_maps.frame(shown, (top, left, side, side))
    won = feature_maps.magnified(feature_maps.colours(after, largest), times)
    feature_maps.frame(won, (detail.row * times, detail.column * times, times, times))
    caption = f"Map {detail.channel}: in full colour what won its window, and the window of the table framed; right what went on."
    return [
        Picture(f"{name}/winners", feature_maps.beside(shown, won), caption),
        _maps(name, view.outputs, detail.channel, "After max pooling"),
    ]


def _dropout(name: str, view: StepView, detail: Dropout) -> Picture:
    if view.inputs.ndim == 1:
        picture = feature_maps.in_rows(view.inputs, is_dropped=detail.is_dropped)
        return Picture(name, picture, "Each unit's value; crossed are those that this draw drops.")
    values, is_dropped = view.inputs[..., detail.channel], detail.is_dropped[..., detail.channel]
    times = feature_maps.times_for(values.shape[1], PAIR_WIDTH)
    before = feature_maps.magnified(feature_maps.colours(values), times)
    during = before.copy()
    cross = feature_maps.crossed(times)
    for row, column in np.argwhere(is_dropped):
        during[row * times : (row + 1) * times, column * times : (column + 1) * times] = cross
    caption = f"Map {detail.channel} as it goes on now, left, and crossed what one draw would drop while training."
    return Picture(name, feature_maps.beside(before, during), caption)


def _output(name: str, view: StepView, detail: Output) -> list[Picture]:
    found = []
    places = detail.connection.places
    if places is not None and np.ptp(places[:, :2], axis=0).any():
        height, width, channels = places[-1] + 1
        evidence = detail.connection.products.reshape(height, width, channels).sum(axis=2)
        times = feature_maps.times_for(int(width), feature_maps.LEAST_ROW)
        picture = feature_maps.magnified(feature_maps.colours(evidence), times)
        caption = (
            f"What each place of the last maps adds to unit {detail.connection.unit}: orange speaks for it, blue against it."
        )
        found.append(Picture(f"{name}/evidence", picture, caption))
    rows = list(zip(detail.names, map(float, detail.values), strict=True))
    caption = f"What the units of the last layer say, after {detail.activation}."
    return [Picture(name, bars(rows, is_share=detail.activation != "linear"), caption), *found]


def bars(rows: list[tuple[str, float]], is_share: bool) -> np.ndarray:
    """Names and values as bars, (H, W, 3) uint8; shares are drawn out of 1, others out of the largest of them."""
    kept = sorted(rows, key=lambda row: -abs(row[1]))[:MOST_BARS] if len(rows) > MOST_BARS else rows
    top = 1.0 if is_share else max((abs(value) for _, value in kept), default=0.0) or 1.0
    line, left, width = 28, 170, feature_maps.LEAST_WIDTH
    canvas = Image.new("RGB", (width, line * len(kept) + 12), feature_maps.WHITE)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    for index, (name, value) in enumerate(kept):
        at = 6 + index * line
        length = round((width - left - 90) * min(1.0, abs(value) / top))
        colour = (213, 94, 0) if value >= 0 else (0, 114, 178)
        draw.rectangle((left, at + 4, left + length, at + line - 4), colour)
        draw.text((8, at + 4), name if len(name) <= 18 else f"{name[:17]}...", (27, 31, 36), font)
        told = f"{100 * value:.1f} %" if is_share else number(value, 3)
        draw.text((left + length + 8, at + 4), told, (27, 31, 36), font)
    return np.asarray(canvas)

