"""The rungs of successive halving: who trained how long, who stands where, who may go on."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from typing import Any

FACTOR = 3  # a third goes on, three times as long; Li et al., 2018, section 3.5, find it near the best


def rung_epochs(epochs: int) -> list[int]:
    """The epochs at the end of each rung: `epochs`, a third of them, a ninth, ... down to 1, in rising order."""
    found = [epochs]
    while found[-1] > 1:
        found.append(math.ceil(epochs / FACTOR ** len(found)))
    return found[::-1]


class Ranking:
    """Ids of trials from the best to the worst, in order at any time. Of equals the earlier is the better.

    The only place of successive halving that looks at a score: one that ranks by more than a score replaces it.
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

    def place(self, trial_id: str) -> int:
        """How many trials are better."""
        return bisect_left(self._order, self._keys[trial_id])

    def best(self, count: int) -> list[str]:
        return [trial_id for *_, trial_id in self._order[:count]]


class Rung:
    """The trials that were trained up to `epochs`, and which of them wait to be promoted to the next rung."""

    def __init__(self, epochs: int, direction: str) -> None:
        self.epochs = epochs
        self.completed = Ranking(direction)
        self.waiting = Ranking(direction)
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

    def promotable(self) -> str | None:
        """The best waiting trial, if it is among the best third of those that ended."""
        for best in self.waiting.best(1):
            if self.completed.place(best) < self.ended // FACTOR:
                return best
        return None
