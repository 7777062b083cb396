"""The charts of what the winner answered on the test part: what it confuses, and how far its values are off."""

from __future__ import annotations

import numpy as np

from cnn_tuner.metrics import calibration
from cnn_tuner.report.charts import Chart, Options, Sheet, axis, number, options
from cnn_tuner.runs.evaluation import Evaluation

MOST_CLASSES = 30  # of more, the cells of a matrix cannot be read
MOST_POINTS = 2000
MOST_TARGETS = 4
CELL_PIXELS = (26, 30)  # width at least, height
LABEL_PIXELS = 90


def confusion_matrix(found: Evaluation, names: tuple[str, ...]) -> Chart | None:
    """Images of each class by what they were taken for; None for more classes than can be read, or none at all."""
    if found.task not in ("binary", "multiclass") or len(names) > MOST_CLASSES:
        return None
    names = tuple(" ".join(name.split()) for name in names)  # an axis has one line for each
    matrix = found.confusion()
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    cells = [
        _cell(names, truth, predicted, int(matrix[truth, predicted]), float(shares[truth, predicted]))
        for truth in range(len(names))
        for predicted in range(len(names))
    ]
    right = int(matrix.trace())
    rotated = {"rotate": 45} if max(map(len, names)) > 3 else {}
    look = {"color": "@text", "interval": 0, "width": LABEL_PIXELS, "overflow": "truncate"}
    chart = options(
        f"A matrix of {len(names)} classes: rows are what images are, columns what they pass for. "
        f"{right:,} of {int(matrix.sum()):,} images are on the diagonal, which is right.",
        grid={"left": 28, "right": 12, "top": 12, "bottom": 36, "outerBoundsMode": "same"},
        visualMap={"show": False, "type": "continuous", "dimension": 2, "min": 0, "max": 1}
        | {"inRange": {"color": ["@ground", "@middle", "@strong"]}},
        xAxis=axis("taken for", "category", data=list(names), axisLabel=look | rotated),
        yAxis=axis("is", "category", data=list(names), inverse=True, axisLabel=look),
        series=[{"type": "heatmap", "data": cells, "itemStyle": {"borderColor": "@line", "borderWidth": 1}}],
    )
    rows = tuple((name, *(f"{n:,}" if n else "" for n in row)) for name, row in zip(names, matrix, strict=True))
    sheet = Sheet(("is \\ taken for", *names), rows, frozenset(range(1, len(names) + 1)))
    aid = (
        "A row holds the images of one class, a column those that were taken for it; what is off the diagonal is "
        "wrong. A cell's colour is its share of the row."
    )
    room = 60 + min(LABEL_PIXELS, 8 * max(map(len, names)))
    width, height = (room + side * len(names) for side in CELL_PIXELS)
    return Chart("confusion", "Confusion matrix", aid, chart, sheet, max(240, height), width)


def _cell(names: tuple[str, ...], truth: int, predicted: int, images: int, share: float) -> Options:
    colour = "@ground" if share > 0.5 else "@text"
    return {
        "value": [predicted, truth, number(share)],
        "tip": f"{names[truth]} taken for {names[predicted]}:\n{images:,} images, {share:.1%} of {names[truth]}",
        "label": {"show": images > 0, "formatter": str(images), "color": colour},
    }


def reliability(found: Evaluation, temperature: float) -> Chart | None:
    """How often answers of about a probability are right, as the scores are and tempered; None of a regression."""
    raw = calibration.reliability(found.task, found.y, found.scores)
    if not raw:
        return None
    tempered = calibration.tempered(found.task, found.scores, temperature)
    told = {"the model's scores": raw}
    if temperature != 1.0:
        told["tempered, as exported"] = calibration.reliability(found.task, found.y, tempered)
    low = min(each.probability for bins in told.values() for each in bins)
    colours = ("@orange", "@blue") if len(told) > 1 else ("@blue",)
    series = [
        {
            "type": "line",
            "name": name,
            "symbolSize": 7,
            "itemStyle": {"color": colour},
            "lineStyle": {"color": colour},
            "data": [
                {
                    "value": [number(each.probability), number(each.right)],
                    "tip": f"{name}: {each.answers:,} answers of about {each.probability:.0%}, {each.right:.1%} right",
                }
                for each in bins
            ],
        }
        for (name, bins), colour in zip(told.items(), colours, strict=True)
    ]
    line = {"type": "line", "data": [[number(low), number(low)], [1, 1]], "showSymbol": False, "silent": True}
    errors = ", ".join(f"{name}: {calibration.error(bins):.1%}" for name, bins in told.items())
    chart = options(
        f"How often answers are right against how probable they are said to be. Mean difference: {errors}.",
        legend={"data": list(told), "textStyle": {"color": "@text"}, "top": 0},
        xAxis=axis("probability that is said", max=1),
        yAxis=axis("share that is right", max=1, nameGap=8),
        series=[*series, line | {"lineStyle": {"color": "@quiet", "type": "dashed"}}],
    )
    rows = tuple(
        (name, f"{each.probability:.3f}", f"{each.right:.3f}", f"{each.answers:,}")
        for name, bins in told.items()
        for each in bins
    )
    sheet = Sheet(("", "probability", "right", "answers"), rows, frozenset({1, 2, 3}))
    aid = (
        "On the dashed line probabilities are what they say: of answers with 0.8, eight of ten are right. Mean "
        f"difference (expected calibration error) on the test part: {errors}."
    )
    return Chart("reliability", "Can the probabilities be believed?", aid, chart, sheet, 360)


def predicted_against_true(found: Evaluation, names: tuple[str, ...]) -> list[Chart]:
    """For regression a chart a target, of the first few; at most so many points that a browser stays quick."""
    if found.task != "regression":
        return []
    rng = np.random.default_rng(0)
    places = np.arange(len(found.y))
    if len(places) > MOST_POINTS:
        places = np.sort(rng.choice(places, MOST_POINTS, replace=False))
    return [_target(found, places, column, name) for column, name in enumerate(names[:MOST_TARGETS])]


def _target(found: Evaluation, places: np.ndarray, column: int, name: str) -> Chart:
    truth, answers = found.y[places, column].astype(float), found.scores[places, column].astype(float)
    points = [
        {"value": [number(t), number(p)], "tip": f"image {i}: is {t:.5g}, predicted {p:.5g}"}
        for i, t, p in zip(places, truth, answers, strict=True)
    ]
    told = np.concatenate([truth, answers])
    told = told[np.isfinite(told)]
    low, high = (float(told.min()), float(told.max())) if len(told) else (0.0, 1.0)
    ends = [[number(low), number(low)], [number(high), number(high)]]
    chart = options(
        f"A point an image: {name} as predicted against {name} as it is, {len(places):,} of {len(found.y):,} images of "
        "the test part, with a line where both are equal.",
        xAxis=axis(f"{name}, as it is"),
        yAxis=axis("predicted", nameGap=8),
        series=[
            {"type": "scatter", "data": points, "symbolSize": 5, "itemStyle": {"color": "@blue", "opacity": 0.6}},
            {"type": "line", "data": ends, "showSymbol": False, "silent": True}
            | {"lineStyle": {"color": "@orange", "type": "dashed"}},
        ],
    )
    order = np.argsort(-np.abs(answers - truth), kind="stable")[:50]
    rows = tuple(
        (str(places[i]), f"{truth[i]:.5g}", f"{answers[i]:.5g}", f"{answers[i] - truth[i]:+.4g}") for i in order
    )
    sheet = Sheet(("image", "is", "predicted", "error"), rows, frozenset({0, 1, 2, 3}))
    cut = f", {len(places):,} of {len(found.y):,} drawn at random" if len(places) < len(found.y) else ""
    aid = f"A point is an image of the test part{cut}; on the dashed line it is right. The table: the largest errors."
    return Chart(f"predicted-{column}", f"{name}: predicted against true", aid, chart, sheet, 360)
