"""The pictures of an explanation: what each of the seven steps did, for the page, for PNG files and for TensorBoard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cnn_tuner.explain import feature_maps
from cnn_tuner.explain.parts import (
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
from cnn_tuner.explain.words import count, number
from cnn_tuner.spaces.architecture import STEPS, padding_pixels

PAIR_WIDTH = 320  # pixels of each of two maps that stand side by side
MOST_BARS = 20


@dataclass(frozen=True)
class Picture:
    """One picture (H, W, 3) uint8; `caption` says what it shows, for those who see it and for those who do not."""

    name: str
    pixels: np.ndarray
    caption: str


def pictures(explanation: Explanation) -> dict[str, np.ndarray]:
    """Every picture by its name, such as `step-1-convolution/block_1_conv_1`; (H, W, 3) uint8, 400 pixels wide or more.

    The image is there, and all seven steps, but for what the network has not: without pooling there is no step 4. A
    network without dropout in its blocks has a step 5 in which nothing is dropped.
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
    """The pictures of one step, in the order in which they are told."""
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
            drawn_values = min(view.outputs.size, feature_maps.MOST_VALUES)
            of = "" if drawn_values == view.outputs.size else f"the first {drawn_values:,} of "
            caption = (
                f"The vector in reading order, {of}{count(view.outputs.size, 'value')}: {scale_words(view.outputs)}."
            )
            return [Picture(name, feature_maps.in_rows(view.outputs), caption)]
        case FullConnection():
            caption = f"The value of each unit before ReLU, unit 0 first: {scale_words(view.outputs)}."
            return [Picture(name, feature_maps.in_rows(view.outputs), caption)]
        case Output() as detail:
            return _output(name, view, detail)


def _maps(name: str, maps: np.ndarray, framed: int, what: str) -> Picture:
    total, kept = maps.shape[2], min(maps.shape[2], feature_maps.MOST_MAPS)
    of = count(total, "map") if kept == total else f"the {kept} most active of {count(total, 'map')}"
    each = ", each in the colours of its own range" if total > 1 else ""
    framed_words = f"; map {framed} is framed" if total > 1 else ""
    caption = f"{what}: {of}{each} ({scale_words(maps)}){framed_words}."
    return Picture(name, feature_maps.tiled(maps, framed if total > 1 else None), caption)


def scale_words(values: np.ndarray) -> str:
    """What the colours of these values mean."""
    return "blue is negative, white 0, orange positive" if (values < 0).any() else "white is 0, orange positive"


def _convolution(name: str, view: StepView, detail: Convolution) -> list[Picture]:
    """The patch on its map beside the value that became of it, and all maps."""
    size = view.layer.settings["kernel_size"]
    strongest = max(detail.shown, key=lambda products: abs(products.total)).channel
    pads, padded = _padded(view, strongest, PAIR_WIDTH)
    times = padded.shape[1] // (view.inputs.shape[1] + sum(pads[1]))
    box = (detail.top + pads[0][0], detail.left + pads[1][0], size, size)
    patch = feature_maps.framed(padded, _scaled(box, times))
    values = view.outputs[..., detail.filter]
    own = feature_maps.times_for(values.shape[1], PAIR_WIDTH)
    found = feature_maps.magnified(feature_maps.colours(values), own)
    found = feature_maps.framed(found, _scaled((detail.row, detail.column, 1, 1), own))
    what = f"map {strongest} of what comes in" if is_deep(view) else "the image"
    caption = f"Left, {what} with the patch framed; right, the map of filter {detail.filter} with the value it became."
    return [
        Picture(f"{name}/patch", feature_maps.beside(patch, found), caption),
        _maps(name, view.outputs, detail.filter, "What the convolution gives, before ReLU"),
    ]


def is_deep(view: StepView) -> bool:
    """Whether a step is given maps, and not the image itself."""
    return view.name != "block_1_conv_1"


def map_colours(view: StepView, maps: np.ndarray, channel: int) -> np.ndarray:
    """One of the maps (H, W, C) that come into a convolution, (H, W, 3); the image as it looks."""
    if is_deep(view):
        return feature_maps.colours(maps[..., channel])
    return feature_maps.image_colours(np.rint(255 * maps).astype(np.uint8))


def _padded(
    view: StepView, channel: int, least_width: int
) -> tuple[tuple[tuple[int, int], tuple[int, int]], np.ndarray]:
    """The zeros before and after height and width, and what comes in with them around it, hatched and magnified."""
    of = view.layer.settings
    high, wide = (
        padding_pixels(side, of["kernel_size"], of["strides"], of["padding"]) for side in view.inputs.shape[:2]
    )
    is_zero = np.pad(np.zeros(view.inputs.shape[:2], bool), (high, wide), constant_values=True)
    times = feature_maps.times_for(is_zero.shape[1], least_width)
    picture = np.pad(map_colours(view, view.inputs, channel), (high, wide, (0, 0)))
    picture, is_zero = feature_maps.magnified(picture, times), feature_maps.magnified(is_zero, times)
    picture[is_zero] = feature_maps.hatched(*picture.shape[:2])[is_zero]
    return (high, wide), picture


def _scaled(box: tuple[int, int, int, int], times: int) -> tuple[int, int, int, int]:
    top, left, height, width = box
    return top * times, left * times, height * times, width * times


def _padding(name: str, view: StepView, detail: Padding) -> Picture:
    """What comes in with its zeros hatched, and where the kernel begins and goes next."""
    of = view.layer.settings
    size, strides = of["kernel_size"], of["strides"]
    _, picture = _padded(view, detail.channel, feature_maps.LEAST_WIDTH)
    times = picture.shape[1] // view.outputs.shape[1]
    caption = f"Map {detail.channel} of what comes in" if is_deep(view) else "The image"
    caption += "; hatched are the zeros of the padding. " if detail.zeros else ", without padding. "
    caption += f"Framed in green is where the {size} x {size} kernel begins"
    boxes = [_scaled((0, 0, size, size), times)]
    if view.layer.output_shape[1] > 1:
        boxes.append(_scaled((0, strides, size, size), times))
        caption += f", in pink where it goes next, {count(strides, 'pixel')} on"
    return Picture(name, feature_maps.framed(picture, *boxes), caption + ".")


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
    window = (detail.row * of["strides"], detail.column * of["strides"], of["pool_size"], of["pool_size"])
    shown = feature_maps.framed(shown, _scaled(window, times))
    won = feature_maps.magnified(feature_maps.colours(after, largest), times)
    won = feature_maps.framed(won, _scaled((detail.row, detail.column, 1, 1), times))
    caption = f"Map {detail.channel}: grey is what won no window, framed the window of the table; right, what went on."
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
        name_of_unit = detail.names[detail.connection.unit]
        caption = f'What each place of the last maps adds to "{name_of_unit}": orange raises it, blue lowers it.'
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
