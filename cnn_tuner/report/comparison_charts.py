"""The charts that compare trials: through their hyperparameters, by what mattered, and by what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cnn_tuner.analysis.importance import Importances
from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.report.charts import Chart, Options, Sheet, axis, focus, legend, number, options
from cnn_tuner.report.texts import reached, summary, summary_title
from cnn_tuner.runs.pareto import COSTS, cost_of
from cnn_tuner.runs.records import Trial, ranked
from cnn_tuner.spaces.tree import Parameter, SearchSpace

MOST_LINES = 1000  # more take a browser seconds, and cover each other
MOST_AXES = 16
MOST_BARS = 12
AXIS_PIXELS = 64  # between two parallel axes, so that their names do not touch
WIDE_RANGE = 20  # of a cost, largest to smallest, from which its axis is logarithmic
INACTIVE = "-"
NAMES = {"fontSize": 11, "lineHeight": 13}  # of axes, two lines each
UNITS = {"params": "parameters", "macs": "multiply-adds", "latency": "ms"}


def parallel_coordinates(
    trials: Sequence[Trial], space: SearchSpace, objective: Objective, found: Importances
) -> Chart | None:
    """A line a completed trial through its hyperparameters to its score; None for fewer than two trials."""
    scored = [t for t in ranked(trials, objective) if t.status == "completed" and number(t.score) is not None]
    told = scored[:MOST_LINES]
    varying = [p for p in space.parameters if len({t.values[p.name] for t in told if p.name in t.values}) > 1]
    if len(told) < 2 or not varying:
        return None
    weights = {each.name: each.share for each in found.hyperparameters}
    most = sorted(varying, key=lambda p: -weights.get(p.name, 0.0))[:MOST_AXES]
    shown = [p for p in varying if p in most]
    axes = [_parallel_axis(i, p, told) for i, p in enumerate(shown)]
    last = {"dim": len(shown), "type": "value", "scale": True, "name": _two_lines(objective.name)}
    lines = [
        {
            "value": [*(_place(t, p, a) for p, a in zip(shown, axes, strict=True)), number(t.score)],
            "tip": f"trial {t.number}: {reached(t)}\n{summary(t.values)}",
        }
        for t in reversed(told)  # the best is drawn last, over the others
    ]
    cut = f" The best {len(told)} of {len(scored)} trials." if len(told) < len(scored) else ""
    cut += f" The {len(shown)} of {len(varying)} that mattered most." if len(shown) < len(varying) else ""
    aid = (
        "A line is a trial; the stronger its colour, the better. Where strong lines meet at one value of an axis, that "
        f"value is good. A dash is a hyperparameter that the trial does not have.{cut}"
    )
    description = (
        f"A line for each of {len(told)} completed trials through {len(shown)} hyperparameters and {objective.name}."
    )
    chart = options(
        description,
        visualMap=_colours([float(t.score or 0.0) for t in told], objective, len(shown)),
        parallel={"left": 44, "right": 52, "top": 56, "bottom": 20},
        parallelAxis=[_look(a) for a in [*axes, last]],
        series=[
            {"type": "parallel", "data": lines, "lineStyle": {"width": 1.5, "opacity": 0.75}},
        ],
    )
    columns = ("trial", objective.name, *(p.name for p in shown))
    rows = tuple((str(t.number), reached(t), *(_cell(t, p) for p in shown)) for t in told)
    sheet = Sheet(columns, rows, frozenset({0, 1}))
    return Chart("parallel", "All trials", aid, chart, sheet, 400, 96 + AXIS_PIXELS * len(shown))


def _parallel_axis(dim: int, parameter: Parameter, trials: Sequence[Trial]) -> Options:
    name = _two_lines(parameter.name)
    if parameter.is_continuous:
        name = f"log10\n{name}" if parameter.is_log else name
        return {"dim": dim, "type": "value", "scale": True, "name": name, "is_log": parameter.is_log}
    seen = [value for value in parameter.values if any(t.values.get(parameter.name) == value for t in trials)]
    missing = [INACTIVE] if any(parameter.name not in t.values for t in trials) else []
    return {"dim": dim, "type": "category", "name": name, "data": [*missing, *map(_text, seen)]}


def _two_lines(name: str) -> str:
    """`block_1` over `filters`, `learning` over `rate`: neighbouring axes leave no room for more."""
    return name.replace(".", "\n", 1) if "." in name else name.replace("_", "\n", 1)


def _look(found: Options) -> Options:
    lines = {"lineStyle": {"color": "@line", "width": 1.5}}
    text = {"color": "@text", "fontSize": 11, "textBorderColor": "@ground", "textBorderWidth": 2}
    looks = {"axisLine": lines, "axisTick": lines, "axisLabel": text, "nameTextStyle": {"color": "@quiet"} | NAMES}
    return (
        {key: value for key, value in found.items() if key != "is_log"}
        | looks
        | {"nameGap": 12, "nameTruncate": {"maxWidth": 2 * AXIS_PIXELS}}
    )


def _place(trial: Trial, parameter: Parameter, found: Options) -> Any:
    value = trial.values.get(parameter.name)
    if found["type"] == "category":
        text = INACTIVE if value is None else _text(value)
        # A trial of before the space was edited may have what the axis has not: its line has a gap there.
        return found["data"].index(text) if text in found["data"] else None
    if value is None:
        return INACTIVE
    return number(math.log10(float(value)) if found["is_log"] else float(value))


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(trial: Trial, parameter: Parameter) -> str:
    value = trial.values.get(parameter.name)
    return INACTIVE if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _colours(scores: Sequence[float], objective: Objective, dimension: int) -> Options:
    """From the worst to the best; the worst tenth is as pale as the one above it, so that one failure hides nothing."""
    ordered = sorted(scores)
    tenth = len(ordered) // 10
    low, high = (
        ordered[tenth if objective.direction == "max" else 0],
        ordered[-1 if objective.direction == "max" else -1 - tenth],
    )
    colours = ["@pale", "@middle", "@strong"]
    return {
        "show": False,
        "type": "continuous",
        "dimension": dimension,
        "min": number(low),
        "max": number(high if high > low else low + 1e-9),
        "inRange": {"color": colours if objective.direction == "max" else colours[::-1]},
        "outOfRange": {"color": "@pale"},
    }


def importance(found: Importances) -> Chart | None:
    """What mattered, as bars; None where nothing can be told."""
    shown = found.hyperparameters[:MOST_BARS]
    if not any(each.share > 0 for each in shown):
        return None
    hatched = {"symbol": "rect", "dashArrayX": [1, 0], "dashArrayY": [2, 4], "rotation": -0.8, "color": "@ground"}
    bars = [
        {
            "value": number(each.share),
            "tip": f"{each.name}: {each.share:.0%}\nthe best have {each.best_text}",
            "itemStyle": {"color": "@blue"} if each.is_clear else {"color": "@faint", "decal": hatched},
            "label": {"show": True, "position": "right", "formatter": f"{each.share:.0%}", "color": "@text"},
        }
        for each in shown
    ]
    names = [each.name for each in shown]
    chart = options(
        f"Bars: the share of {len(shown)} hyperparameters in being among the best {found.best} of {found.trials} "
        f"trials; {len(found.clear)} are clearly more than chance.",
        grid={"left": 12, "right": 52, "top": 12, "bottom": 12, "outerBoundsMode": "same"},
        xAxis=axis("", min=0, scale=False, axisLabel={"show": False}, splitLine={"show": False}),
        yAxis=axis("", "category", data=names, inverse=True, axisLabel={"color": "@text", "interval": 0}),
        series=[{"type": "bar", "data": bars, "barMaxWidth": 22}],
    )
    rows = tuple(
        (e.name, f"{e.share:.0%}", "" if e.is_clear else "may be chance", str(e.trials), e.best_text)
        for e in found.hyperparameters
    )
    aid = f"What the best {found.best} of {found.trials} trials have more often than all. Hatched, grey: may be chance."
    sheet = Sheet(("hyperparameter", "share", "doubt", "trials with it", "the best have"), rows, frozenset({1, 3}))
    return Chart("importance", "What mattered", aid, chart, sheet, 60 + 30 * len(shown))


def cost_and_score(
    trials: Sequence[Trial], front: Sequence[Trial], objective: Objective, cost: str, winner: int | None
) -> Chart | None:
    """What a model costs against what it scores, with those that no other beats in both; None without a trial."""
    told = [t for t in trials if number(t.score) is not None and cost_of(t, cost) is not None]
    if not told:
        return None
    factor = 1000.0 if cost == "latency" else 1.0
    costs = {t.number: factor * float(cost_of(t, cost) or 0.0) for t in told}

    def item(trial: Trial) -> Options:
        tip = f"trial {trial.number}: {reached(trial)}, {costs[trial.number]:,.4g} {UNITS[cost]}"
        return {"value": [number(costs[trial.number]), number(trial.score)], "tip": f"{tip}\n{summary(trial.values)}"}

    best = {t.number for t in front}
    low = min(costs.values())
    is_wide = low > 0 and max(costs.values()) / low > WIDE_RANGE
    bound, beyond = focus([float(t.score or 0.0) for t in told], objective)
    crowned = [item(t) for t in told if t.number == winner]
    series: list[Options] = [
        _marks("other trials", [item(t) for t in told if t.number not in best], "@faint", "circle", 7),
        _marks("front", [item(t) for t in front], "@orange", "diamond", 12)
        | {"type": "line", "step": "end", "lineStyle": {"color": "@orange", "width": 2}},
    ]
    if crowned:
        ring = {"color": "transparent", "borderColor": "@blue", "borderWidth": 3}
        series.append(_marks("winner", crowned, "@blue", "circle", 20) | {"itemStyle": ring, "z": 5})
    chart = options(
        f"A point a trial: {objective.name} against {COSTS[cost]}. {len(front)} of {len(told)} are on the front.",
        legend=legend([each["name"] for each in series]),
        xAxis=axis(f"{COSTS[cost]}{' (ms)' if cost == 'latency' else ''}", "log" if is_wide else "value"),
        yAxis=axis(objective.name, nameGap=8, **bound),
        series=series,
    )
    rows = tuple((str(t.number), f"{costs[t.number]:,.6g}", reached(t), summary(t.values)) for t in front)
    sheet = Sheet(("trial", UNITS[cost], objective.name, summary_title(front)), rows, frozenset({0, 1, 2}))
    aid = (
        f"On the front no other trial is better in both {objective.name} and {COSTS[cost]}; the table lists it.{beyond}"
    )
    return Chart(f"front-{cost}", f"Score against {COSTS[cost]}", aid, chart, sheet, 360)


def _marks(name: str, data: list[Options], colour: str, symbol: str, size: int) -> Options:
    look = {"symbol": symbol, "symbolSize": size, "itemStyle": {"color": colour}}
    return {"type": "scatter", "name": name, "data": data} | look
