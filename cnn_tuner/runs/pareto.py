"""Two objectives at once: what a model scores, and what it costs. No front is better than another's every point.

Deb et al., 2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", for the order by fronts and, within a
front, by how much of it a point stands for (its crowding distance).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from cnn_tuner.errors import UsageError
from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.runs.records import Trial

COSTS = {"params": "parameters", "macs": "multiply-adds an image", "latency": "time for one image"}
Point = tuple[float, float]  # both are better when they are smaller


def check_cost(name: str) -> None:
    """Raises UsageError when there is no cost of this name."""
    if name not in COSTS:
        raise UsageError(f"--and: unknown: {name!r}; choices: {', '.join(COSTS)}")


def cost_of(trial: Trial, name: str) -> float | None:
    """What a trial's model costs; None for a latency that was not measured."""
    return {"params": trial.params, "macs": trial.macs, "latency": trial.latency_seconds}[name]


def front(trials: Sequence[Trial], objective: Objective, cost: str) -> list[Trial]:
    """The trials that no other one beats in both, the cheapest first; of equals the earlier."""
    sign = -1 if objective.direction == "max" else 1
    known = [trial for trial in trials if trial.score is not None and cost_of(trial, cost) is not None]
    points = [(sign * float(trial.score or 0.0), float(cost_of(trial, cost) or 0.0)) for trial in known]
    found = [trial for trial, rank in zip(known, fronts(points), strict=True) if rank == 0]
    distinct = {(trial.score, cost_of(trial, cost)): trial for trial in reversed(found)}
    return sorted(distinct.values(), key=lambda trial: float(cost_of(trial, cost) or 0.0))


def fronts(points: Sequence[Point]) -> list[int]:
    """The number of each point's front, 0 for those that no other dominates; O(n log n), for two objectives.

    In the order of the first objective a point is dominated by one of a front exactly if that front's smallest second
    objective so far is not larger, and those smallest ones grow from front to front.
    """
    found = [0] * len(points)
    smallest: list[float] = []
    last: tuple[Point, int] | None = None
    for index in sorted(range(len(points)), key=lambda i: points[i]):
        if last is not None and last[0] == points[index]:  # an equal does not dominate
            found[index] = last[1]
            continue
        cost = points[index][1]
        number = bisect_right(smallest, cost)
        smallest[number : number + 1] = [cost]
        found[index] = number
        last = points[index], number
    return found


def order(points: Sequence[Point]) -> list[int]:
    """The places of the points from the best to the worst: by front, then the ones that stand for most of it first."""
    numbers = fronts(points)
    members: dict[int, list[int]] = {}
    for index, number in enumerate(numbers):
        members.setdefault(number, []).append(index)
    distance = {i: d for each in members.values() for i, d in _crowding(points, each).items()}
    return sorted(range(len(points)), key=lambda i: (numbers[i], -distance[i], i))


def _crowding(points: Sequence[Point], members: list[int]) -> dict[int, float]:
    """Half the length of the sides of the box between a point's neighbours in its front; without end at the ends."""
    ordered = sorted(members, key=lambda i: points[i])
    first, last = points[ordered[0]], points[ordered[-1]]
    spans = [abs(last[axis] - first[axis]) or 1.0 for axis in (0, 1)]
    found = dict.fromkeys(members, math.inf)
    for before, index, after in zip(ordered, ordered[1:], ordered[2:], strict=False):
        sides = (abs(points[after][axis] - points[before][axis]) / spans[axis] for axis in (0, 1))
        found[index] = sum(sides)
    return found
