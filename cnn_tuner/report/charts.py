"""The charts of a search, as options for Apache ECharts (https://echarts.apache.org/en/option.html): plain data.

A colour is a name such as `@blue`, which the page replaces by that of its style sheet, light or dark. An item's `tip`
is the text that is shown when it is pointed at. Numbers that are not finite become gaps, since JSON knows none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.report.texts import reached, score, summary
from cnn_tuner.runs.records import Epoch, Trial, ranked

MOST_CURVES = 50
NAMED_CURVES = 5
FEW = 0.2  # of all values, so many of the worst may lie beyond the end of an axis
COLOURS = ("@blue", "@orange", "@green", "@red", "@purple")
DASHES = ("solid", "dashed", "dotted", "solid", "dashed")

Options = dict[str, Any]


@dataclass(frozen=True)
class Sheet:
    """Figures as a table of text; `numbers` are the columns that stand to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Chart:
    """A chart with the same figures as a table. `aid` says how to read it; a page narrower than `width` scrolls it."""

    name: str
    heading: str
    aid: str
    options: Options
    sheet: Sheet
    height: int = 320
    width: int = 0


@dataclass(frozen=True)
class Reached:
    """The end of a job of the search: after how many seconds at work, which trial, its score then."""

    seconds: float
    trial: int
    score: float


def number(value: float | None) -> float | None:
    """Five digits, which is more than a pixel shows; None for what is not finite."""
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None


def options(description: str, **parts: Any) -> Options:
    """What all charts have in common. The description is what a screen reader says."""
    return {
        "animation": False,  # calm, and ready when it is printed
        "textStyle": {"color": "@text", "fontFamily": "system-ui, sans-serif"},
        "aria": {"enabled": True, "label": {"description": description}},
        "tooltip": tooltip(),
        "grid": {"left": 12, "right": 20, "top": 44, "bottom": 12, "outerBoundsMode": "same"},
        **parts,
    }


def tooltip(**more: Any) -> Options:
    """As text, never as HTML: names of classes are a user's."""
    style = {"color": "@text", "fontSize": 12}
    look = {"backgroundColor": "@card", "borderColor": "@line", "textStyle": style}
    return {"renderMode": "richText", "confine": True, "trigger": "item"} | look | more


def axis(name: str, kind: str = "value", **more: Any) -> Options:
    """An axis with its name beside its middle."""
    return {
        "type": kind,
        "name": name,
        "nameLocation": "middle",
        "nameTextStyle": {"color": "@quiet"},
        "axisLabel": {"color": "@quiet", "hideOverlap": True},
        "axisLine": {"lineStyle": {"color": "@line"}},
        "splitLine": {"lineStyle": {"color": "@line", "opacity": 0.5}},
        "scale": True,
    } | more


def focus(values: Sequence[float], objective: Objective) -> tuple[Options, str]:
    """An end for the axis of the objective where a few bad values would press all others together, and words for it."""
    ordered = sorted(values, reverse=objective.direction == "min")  # from the worst
    edge, best = ordered[int(FEW * len(ordered))], ordered[-1]
    span = abs(best - edge)
    if not 0 < 2 * span < abs(best - ordered[0]):
        return {}, ""
    step = 10.0 ** math.floor(math.log10(span)) / 2  # the end is a number that a person would choose
    words = " The worst lie beyond the end of the axis."
    if objective.direction == "min":
        return {"max": number(step * math.ceil((edge + span / 5) / step))}, words
    low = step * math.floor((edge - span / 5) / step)
    if not objective.name.endswith(("accuracy", "auc")):
        return {"min": number(low)}, words
    return {"min": number(low), "max": 1, "interval": number(step * math.ceil((1 - low) / step / 8))}, words


def legend(names: Sequence[str]) -> Options:
    return {"type": "scroll", "top": 4, "left": 8, "data": list(names), "textStyle": {"color": "@text"}}


def winners_curve(epochs: Sequence[Epoch], metric: str) -> Chart | None:
    """A metric of the winner by epoch, on the training and the validation part; None where it was never measured."""
    told = [e for e in epochs if number(e.metrics.get(metric)) is not None or f"val_{metric}" in e.metrics]
    if not told:
        return None
    sides = [("training", metric, "@orange", "dashed"), ("validation", f"val_{metric}", "@blue", "solid")]
    sides = [side for side in sides if any(number(e.metrics.get(side[1])) is not None for e in told)]
    parts = tuple(name for name, *_ in sides)
    series = [
        {
            "type": "line",
            "name": name,
            "data": [[e.number, number(e.metrics.get(key))] for e in told],
            "showSymbol": len(told) < 3,
            "lineStyle": {"color": colour, "type": dash, "width": 2},
            "itemStyle": {"color": colour},
        }
        for name, key, colour, dash in sides
    ]
    aid = f"{metric} after each epoch: where the lines part, the model learns its training images by heart."
    if metric != "loss":
        aid = f"{metric} after each epoch, of training images (changed by augmentation and dropout) and of others."
    if len(sides) == 1:
        aid = f"{metric} after each epoch, of {parts[0]} images; a refit on all images has none left to validate it on."
    rows = tuple((str(e.number), *(score(number(e.metrics.get(key))) for _, key, _, _ in sides)) for e in told)
    found = options(
        f"{metric} of the winner by epoch, a line each: {' and '.join(parts)}, {len(told)} epochs; "
        f"at the end {' and '.join(rows[-1][1:])}.",
        tooltip=tooltip(trigger="axis"),
        legend=legend(parts),
        xAxis=axis("epoch", minInterval=1, scale=True),
        yAxis=axis(metric, nameGap=8),
        series=series,
    )
    sheet = Sheet(("epoch", *parts), rows, frozenset(range(1 + len(parts))))
    return Chart(f"winner-{metric}", f"The winner's {metric}", aid, found, sheet)


def trials_curves(trials: Sequence[Trial], objective: Objective) -> Chart | None:
    """The objective by epoch of the best trials in the search; None where no trial has one."""
    told = [t for t in ranked(trials, objective) if any(objective.name in e.metrics for e in t.epochs)][:MOST_CURVES]
    if not told:
        return None
    named, others = told[:NAMED_CURVES], told[NAMED_CURVES:]
    series = [_curve(t, objective, f"other {len(others)}", "@faint", "solid", 1) for t in reversed(others)]
    for trial, colour, dash in reversed(list(zip(named, COLOURS, DASHES, strict=False))):
        series.append(_curve(trial, objective, f"trial {trial.number}", colour, dash, 2))
    names = [f"trial {t.number}" for t in named] + ([f"other {len(others)}"] if others else [])
    cut = f"the best {len(told)} of {len(trials)} trials" if len(told) < len(trials) else "all trials"
    last = max(e.number for t in told for e in t.epochs)
    reached = [e.metrics[objective.name] for t in told for e in t.epochs if objective.name in e.metrics]
    bound, beyond = focus([value for value in reached if math.isfinite(value)] or [0.0], objective)
    rows = tuple((str(t.number), *_cells(t, objective, last)) for t in told)
    found = options(
        f"A line a trial: {objective.name} by epoch of {cut}. The best is trial {told[0].number} with "
        f"{score(told[0].score)}.",
        legend=legend(names),
        xAxis=axis("epoch", minInterval=1),
        yAxis=axis(objective.name, nameGap=8, **bound),
        series=series,
    )
    aid = f"{objective.name} of {cut} in the search, by epoch; one that ends early gave way to better ones.{beyond}"
    columns = ("trial", *(str(n) for n in range(1, last + 1)))
    sheet = Sheet(columns, rows, frozenset(range(last + 1)))
    return Chart("trials", "Learning curves of the search", aid, found, sheet, 380)


def _curve(trial: Trial, objective: Objective, name: str, colour: str, dash: str, width: int) -> Options:
    told = [e for e in trial.epochs if objective.name in e.metrics]
    return {
        "type": "line",
        "name": name,
        "tip": f"trial {trial.number}: {reached(trial)}\n{summary(trial.values)}",
        "data": [[e.number, number(e.metrics[objective.name])] for e in told],
        "symbol": "circle",  # what can be pointed at, and all that there is of one epoch
        "symbolSize": 2 * width + 1,
        "lineStyle": {"color": colour, "type": dash, "width": width},
        "itemStyle": {"color": colour},
    }


def _cells(trial: Trial, objective: Objective, last: int) -> list[str]:
    by_epoch = {e.number: number(e.metrics.get(objective.name)) for e in trial.epochs}
    return [score(by_epoch[n]) if by_epoch.get(n) is not None else "" for n in range(1, last + 1)]


def best_over_time(ends: Sequence[Reached], objective: Objective) -> Chart | None:
    """The best score so far over the time at work, and every score as a point; None without a score."""
    told = sorted((e for e in ends if math.isfinite(e.score)), key=lambda e: (e.seconds, e.trial))
    if not told:
        return None
    pick = max if objective.direction == "max" else min
    bests = list(accumulate((e.score for e in told), pick))
    bound, beyond = focus([e.score for e in told], objective)
    unit, name = (60.0, "minutes at work") if told[-1].seconds > 180 else (1.0, "seconds at work")
    places = [number(e.seconds / unit) for e in told]
    steps = [i for i, best in enumerate(bests) if i == 0 or best != bests[i - 1]]
    line = [[places[i], number(bests[i])] for i in sorted({*steps, len(told) - 1})]
    points = [
        {"value": [x, number(e.score)], "tip": f"trial {e.trial}: {score(e.score)}"}
        for x, e in zip(places, told, strict=True)
    ]
    found = options(
        f"A line that steps to the best {objective.name} so far, over {name}, and a point for each training of the "
        f"search. It ends at {score(bests[-1])}.",
        legend=legend(("best so far", "each training")),
        xAxis=axis(name, min=0, scale=False),
        yAxis=axis(objective.name, nameGap=8, **bound),
        series=[
            {
                "type": "scatter",
                "name": "each training",
                "data": points,
                "symbolSize": 6,
                "itemStyle": {"color": "@faint"},
            },
            {
                "type": "line",
                "name": "best so far",
                "data": line,
                "step": "end",
                "symbolSize": 6,
                "lineStyle": {"color": "@blue", "width": 2},
                "itemStyle": {"color": "@blue"},
            },
        ],
    )
    rows = tuple((f"{told[i].seconds:.0f}", str(told[i].trial), score(bests[i])) for i in steps)
    aid = (
        f"A search that has found what it can is flat for a long time; one that still climbs may be worth more.{beyond}"
    )
    sheet = Sheet(("seconds at work", "trial", f"best {objective.name}"), rows, frozenset({0, 1, 2}))
    return Chart("time", "Best over time", aid, found, sheet)
