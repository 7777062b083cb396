"""The rungs of successive halving: who trained how long, who stands where, who may go on."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Mapping
from typing import Any

from cnn_tuner.runs.pareto import order

FACTOR = 3  # a third goes on, three times as long; Li et al., 2018, section 3.5, find it near the best


def rung_epochs(epochs: int, least: int = 1) -> list[int]:
    """The epochs at the end of each rung: `epochs`, a third of them, a ninth, ... in rising order.

    None is below `least`, and the first one is below twice as many.
    """
    found = [epochs]
    while found[-1] >= 2 * least and found[-1] > 1:
        found.append(max(least, math.ceil(epochs / FACTOR ** len(found))))
    return found[::-1]


class Ranking:
    """Ids of trials from the best to the worst, in order at any time. Of equals the earlier is the better.

    The only place of successive halving that looks at a score; `ParetoRanking` looks at a cost too.
    """

    def __init__(self, direction: str) -> None:
        self._sign = -1 if direction == "max" else 1
        self._order: list[tuple[float, int, str]] = []
        self._keys: dict[str, tuple[float, int, str]] = {}

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, trial_id: object) -> bool:
        return trial_id in self._keys

    def add(self, trial: Any) -> None:
        """Takes in a completed trial."""
        key = self._keys[trial.trial_id] = (self._sign * trial.score, int(trial.trial_id), trial.trial_id)
        insort(self._order, key)

    def remove(self, trial_id: str) -> None:
        del self._order[bisect_left(self._order, self._keys.pop(trial_id))]

    def first_of(self, some: Ranking, most: int) -> str | None:
        """The best of `some` of these trials, if it is among the `most` best of all."""
        return next((best for best in some.best(1) if self.is_among(best, most)), None)

    def is_among(self, trial_id: str, most: int) -> bool:
        """Whether a trial is one of these, and among the `most` best of them."""
        return trial_id in self._keys and bisect_left(self._order, self._keys[trial_id]) < most

    def best(self, count: int) -> list[str]:
        return [trial_id for *_, trial_id in self._order[:count]]


class ParetoRanking:
    """The same for two objectives: by Pareto fronts, which every new trial may change (Schmucker et al., 2021,
    "Multi-objective Asynchronous Successive Halving", https://arxiv.org/abs/2106.12639).

    They are sorted anew when they are asked for after a change, in O(n log n).
    """

    def __init__(self, direction: str, costs: Mapping[str, float]) -> None:
        self._sign = -1 if direction == "max" else 1
        self._costs = costs
        self._points: dict[str, tuple[float, float]] = {}
        self._order: list[str] | None = []

    def __len__(self) -> int:
        return len(self._points)

    def __contains__(self, trial_id: object) -> bool:
        return trial_id in self._points

    def add(self, trial: Any) -> None:
        """Takes in a completed trial, whose cost is known."""
        self._points[trial.trial_id] = (self._sign * trial.score, self._costs[trial.trial_id])
        self._order = None

    def remove(self, trial_id: str) -> None:
        del self._points[trial_id]
        self._order = None

    def first_of(self, some: ParetoRanking, most: int) -> str | None:
        """The best of `some` of these trials that is among the `most` best of all: by the fronts of all of them."""
        return next((trial_id for trial_id in self.best(most) if trial_id in some), None)

    def is_among(self, trial_id: str, most: int) -> bool:
        """Whether a trial is one of these, and among the `most` best of them."""
        return trial_id in self.best(most)

    def best(self, count: int) -> list[str]:
        return self._ordered()[:count]

    def _ordered(self) -> list[str]:
        if self._order is None:
            ids = list(self._points)
            self._order = [ids[place] for place in order(list(self._points.values()))]
        return self._order


class Rung:
    """The trials that were trained up to `epochs`, and which of them wait to be promoted to the next rung."""

    def __init__(self, epochs: int, make_ranking: Callable[[], Any]) -> None:
        self.epochs = epochs
        self.completed = make_ranking()
        self.waiting = make_ranking()
        self.failed = 0

    @property
    def ended(self) -> int:
        """A failed trial has ended as the worst: it makes room for a promotion as any other does."""
        return len(self.completed) + self.failed

    def add(self, trial: Any) -> None:
        """Takes in a trial that has ended here."""
        if trial.status == "COMPLETED":
            self.completed.add(trial)
            self.waiting.add(trial)
        else:
            self.failed += 1

    def promotable(self, least: int = 0) -> str | None:
        """The best waiting trial, if it is among the best third of those that ended, or the `least` best."""
        return self.completed.first_of(self.waiting, self._places(least))

    def is_promotable(self, trial_id: str, least: int = 0) -> bool:
        """Whether this trial waits here, and is among the best third of those that ended, or the `least` best."""
        return trial_id in self.waiting and self.completed.is_among(trial_id, self._places(least))

    def _places(self, least: int) -> int:
        return max(least, self.ended // FACTOR)
