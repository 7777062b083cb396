"""The numbers of a step as tables: which stand beside each other, how they are written, how they are tinted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnn_tuner.explain.parts import (
    Convolution,
    Dropout,
    Flattening,
    FullConnection,
    Output,
    Pooling,
    Products,
    Relu,
    StepView,
)
from cnn_tuner.explain.words import decimals, number

LEAST_SHARE = 0.1  # of the largest value: smaller ones are written as 0.00
MOST_ROWS = 6  # of a list of inputs, values or classes
STRONGEST_TINT = 55  # per cent of the colour behind the largest number: text on it stays legible
CHANNELS = {1: ("",), 3: ("red", "green", "blue")}  # of an image


@dataclass(frozen=True)
class Cell:
    """A number in a table: `tint` is from -100 (blue) to 100 (orange); `mark` is "", "padding" or "winner"."""

    text: str
    tint: int = 0
    mark: str = ""


Grid = list[list[Cell]]


@dataclass(frozen=True)
class Block:
    """Grids beside each other, with signs between them, or rows below a head; `kind` says which.

    kind "product": three grids, patch x kernel = products, with their `total`; "window": one grid; "rows": `head` and
    `rows`, of which the last `sums` ones are totals.
    """

    kind: str
    title: str = ""
    grids: tuple[Grid, ...] = ()
    total: str = ""
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    sums: int = 0


def grid(values: np.ndarray, places: int, marks: np.ndarray | None = None, mark: str = "") -> Grid:
    """Numbers (H, W) as cells; `marks` (H, W) bool are those that bear `mark`."""
    largest = float(np.abs(values).max(initial=0)) or 1.0
    tints = np.rint(STRONGEST_TINT * values / largest).astype(int)
    is_marked = np.zeros(values.shape, bool) if marks is None else marks
    return [
        [
            Cell(number(float(values[r, c]), places), int(tints[r, c]), mark if is_marked[r, c] else "")
            for c in range(values.shape[1])
        ]
        for r in range(values.shape[0])
    ]


def blocks(view: StepView) -> list[Block]:
    """The numbers of one step."""
    match view.detail:
        case Convolution() as detail:
            return _convolution(view, detail)
        case Relu() as detail:
            return [_relu(view)]
        case Pooling() as detail:
            places = decimals(detail.window)
            won = np.zeros(detail.window.shape, bool)
            won[detail.winner] = True
            cells = grid(detail.window, places, won, "winner")
            total = number(float(detail.window.max()), places)
            return [Block("window", "The framed window, and its largest value", (cells,), total)]
        case Dropout() as detail:
            return [_dropout(view, detail)]
        case Flattening() as detail:
            return [_flattening(view, detail)]
        case FullConnection() as detail:
            return [_connection(view, detail, f"unit {detail.unit}")]
        case Output() as detail:
            name = detail.names[detail.connection.unit]
            return [_output(detail), _connection(view, detail.connection, name)]
    return []


def _convolution(view: StepView, detail: Convolution) -> list[Block]:
    total = view.inputs.shape[2]
    found = [_product(products, _channel_title(products, total, view.name)) for products in detail.shown]
    places = decimals(detail.value, detail.bias, detail.channel_sums)
    rows = [(_channel_title(p, total, view.name) or "the sum", number(p.total, places)) for p in detail.shown]
    others = total - len(detail.shown)
    if others:
        rest = float(detail.channel_sums.sum()) - sum(products.total for products in detail.shown)
        rows.append((f"the {others} other channels", number(rest, places)))
    rows += [("bias", number(detail.bias, places)), ("value", number(detail.value, places))]
    return [*found, Block("rows", "", rows=tuple(rows), sums=1)]


def _channel_title(products: Products, channels: int, name: str) -> str:
    names = CHANNELS.get(channels, ()) if name == "block_1_conv_1" else ()
    if names:
        return names[products.channel]
    return f"channel {products.channel}" + (", the strongest" if channels > 3 else "")


def _product(products: Products, title: str) -> Block:
    patch, kernel, result = products.patch, products.kernel, products.products
    grids = (
        grid(patch, decimals(patch), products.is_padding, "padding"),
        grid(kernel, decimals(kernel)),
        grid(result, decimals(result)),
    )
    return Block("product", title, grids, number(products.total, decimals(products.total, result)))


def _relu(view: StepView) -> Block:
    """The lowest value, the highest, and two between."""
    order = np.sort(view.inputs, axis=None)
    picked = sorted({float(order[round(share * (order.size - 1))]) for share in (0, 0.25, 0.75, 1)})
    places = decimals(np.array(picked))
    rows = tuple((number(value, places), number(max(value, 0.0), places)) for value in picked)
    return Block("rows", head=("before", "after ReLU"), rows=rows)


def _dropout(view: StepView, detail: Dropout) -> Block:
    """The first values of some size: what one draw makes of them while training."""
    values, is_dropped = view.inputs.ravel(), detail.is_dropped.ravel()
    least = LEAST_SHARE * float(np.abs(values).max())
    picked = np.flatnonzero(np.abs(values) > least)[:MOST_ROWS]
    places = decimals(values[picked] * detail.scale)
    rows = tuple(
        (
            number(float(values[i]), places),
            "dropped" if is_dropped[i] else f"\N{MULTIPLICATION SIGN} {detail.scale:.4g}",
            number(0.0 if is_dropped[i] else float(values[i]) * detail.scale, places),
        )
        for i in picked
    )
    return Block("rows", "Some of the values", head=("value", "this draw", "in training"), rows=rows)


def _flattening(view: StepView, detail: Flattening) -> Block:
    """The first places of the vector, the one where a new place of the maps begins, and the last."""
    channels = view.inputs.shape[2]
    last = view.outputs.size - 1
    picked = sorted({i for i in (0, 1, 2, channels - 1, channels, channels + 1, last) if 0 <= i <= last})
    places = decimals(view.outputs)
    rows = tuple(
        (f"{i:,}", *(str(n) for n in detail.places[i]), number(float(view.outputs[i]), places)) for i in picked
    )
    return Block("rows", head=("place", "row", "column", "map", "value"), rows=rows)


def _connection(view: StepView, detail: FullConnection, name: str) -> Block:
    """The inputs that decide most of a unit's value, and the sum of all."""
    picked = detail.order[:MOST_ROWS]
    products = detail.products[picked]
    rest = float(detail.products.sum() - products.sum())
    places = decimals(products, rest, detail.bias, detail.value)
    weight_places = decimals(detail.weights[picked])
    input_places = decimals(view.inputs[picked])
    rows = [
        (
            _source(detail, int(i)),
            number(float(view.inputs[i]), input_places),
            number(float(detail.weights[i]), weight_places),
            number(float(detail.products[i]), places),
        )
        for i in picked
    ]
    others = len(detail.products) - len(picked)
    sums = [("bias", "", "", number(detail.bias, places)), ("value", "", "", number(detail.value, places))]
    if others:
        rows.append((f"the {others:,} others", "", "", number(rest, places)))
    head = ("input", "value", "weight", "product")
    return Block("rows", f'What decides most for "{name}"', head=head, rows=(*rows, *sums), sums=1)


def _source(detail: FullConnection, place: int) -> str:
    if detail.places is None:
        return f"unit {place}"
    row, column, channel = detail.places[place]
    return f"map {channel}, row {row}, column {column}"


def _output(detail: Output) -> Block:
    order = np.argsort(-detail.logits, kind="stable")[:MOST_ROWS]
    places = decimals(detail.logits)
    if detail.activation == "linear":
        order = np.arange(len(detail.logits))[:MOST_ROWS]  # targets are no rivals: they keep their order
        rows = tuple((detail.names[i], number(float(detail.logits[i]), 4), f"{detail.values[i]:.6g}") for i in order)
        return Block("rows", head=("target", "value of the unit", "answer"), rows=rows)
    rows = tuple(
        (detail.names[i], number(float(detail.logits[i]), places), f"{100 * detail.scores[i]:.2f} %") for i in order
    )
    title = f"The {len(order)} largest of {len(detail.logits)}" if len(order) < len(detail.logits) else ""
    return Block("rows", title, head=("unit", "value", f"after {detail.activation}"), rows=rows)
