"""Asynchronous successive halving: promote whenever a third allows it, else try a new point; nobody waits.

Li et al., 2020, "A System for Massively Parallel Hyperparameter Tuning", https://arxiv.org/abs/1810.05934, algorithm 2.
New points come from a sampler that learns from every rung, as in Falkner et al., 2018, https://arxiv.org/abs/1807.01774.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice
from typing import Any

from cnn_tuner.errors import SearchError
from cnn_tuner.oracles import samplers
from cnn_tuner.oracles.feasible import IDLE, STOPPED, FeasibleOracle, Search
from cnn_tuner.oracles.rungs import FACTOR, ParetoRanking, Ranking, Rung, rung_epochs
from cnn_tuner.oracles.samplers import Evidence
from cnn_tuner.runs.budget import TYPICAL_POINTS
from cnn_tuner.spaces.tree import Point

MOST_BEST = 50  # points that a sampler learns from, so that a suggestion costs the same after any number of trials
MOST_OTHERS = 200
CONTINUED = 0.2  # of a set-up: what a promotion takes that the worker begins whose network it is
LEARNING = 15.0  # points after which a sampler that learns gets better; then up to twice as many are promoted, as seen
EARLY = 0.65  # of a trial more goes on from a rung, since its best does before three have ended there: by simulations
HELD = 8  # states of waiting trials that are held, a rung: a later promotion trains its trial anew


def promoted(points: float) -> float:
    """About how many of so many points that end in random order are promoted from their rung.

    A third, and those that no longer are among the best third in the end. Li et al., 2020, section 3.3, expect a
    number of the order of the root; the factors are fitted to simulations of 6 to 1000 points. Those that go on before
    three have ended come on top: see `EARLY`.
    """
    return points / FACTOR + max(0.0, 0.5 * math.sqrt(points) - 1.2)


class AshaOracle(FeasibleOracle):
    """Rungs without rounds: a worker that asks gets the best promotion there is, from the top down, or a new point.

    A failed trial has ended in its rung as the worst. When there are no more new points, what the rule allows is still
    promoted, and then the best of the highest rung up to the top: a short search has fully trained one point too.
    """

    is_anytime = True
    promotes = True

    def __init__(self, search: Search) -> None:
        super().__init__(search)
        self._rungs = [Rung(epochs, self._ranking) for epochs in rung_epochs(search.epochs, search.least_epochs)]
        self._sampler = samplers.create(search.sampler, search.space)
        self.learns = self._sampler.learns
        self._begun = [0] * len(self._rungs)  # trials that entered each rung
        self._is_exhausted = False
        self._last_ended = ""  # the trial that a worker still has set up

    def _ranking(self) -> Ranking | ParetoRanking:
        direction = self.search.objective.direction
        return ParetoRanking(direction, self.costs) if self.search.has_cost else Ranking(direction)

    def takes_new_points(self) -> bool:
        return not self._is_exhausted and super().takes_new_points()

    def _suggestion(self, trial_id: str) -> dict[str, Any]:
        values = self._promotion() or self._new_point() or self._last_promotion()
        if values is None:
            return IDLE if self.ongoing_trials else STOPPED
        return self._enter(values)

    def _take_up(self, trial_id: str, values: Point) -> dict[str, Any]:
        if not self._has_place(values):
            raise SearchError(f"ASHA for {self.search.epochs} epochs has no place for what an earlier session tried")
        return self._enter(values)

    def _enter(self, values: Point) -> dict[str, Any]:
        if "tuner/trial_id" in values:
            self._rungs[int(values["tuner/round"]) - 1].waiting.remove(str(values["tuner/trial_id"]))
        self._begun[int(values["tuner/round"])] += 1
        return self.suggest(values)

    def _has_place(self, values: Point) -> bool:
        index, parent = int(values.get("tuner/round", -1)), values.get("tuner/trial_id")
        if not 0 <= index < len(self._rungs) or values["tuner/epochs"] != self._rungs[index].epochs:
            return False
        return parent in self._rungs[index - 1].waiting if index else parent is None

    def end_trial(self, trial: Any) -> None:
        super().end_trial(trial)
        self._rungs[trial.hyperparameters.values["tuner/round"]].add(self.trials[trial.trial_id])
        self._last_ended = trial.trial_id

    def _promotion(self) -> Point | None:
        """The values of a promotion that the rule allows.

        Of several it is the trial that ended last, which need not be set up anew, or else one that is trained longest.
        While others are at work the best of a rung goes on before three have ended there: a good network is there
        sooner, and what the winner was trained is not lost, since its final training goes on with it.
        """
        least = 1 if self.ongoing_trials else 0
        for index in reversed(range(len(self._rungs) - 1)):
            if self._rungs[index].is_promotable(self._last_ended, least):
                return self._promoted(self._last_ended, index)
        for index in reversed(range(len(self._rungs) - 1)):
            best = self._rungs[index].promotable(least)
            if best is not None:
                return self._promoted(best, index)
        return None

    def _last_promotion(self) -> Point | None:
        """When nothing else is left to do: the best of the highest rung, until a trial has completed the top one.

        Ends after some failures in a row: what cannot be trained that long fails each time.
        """
        index = max((i for i, rung in enumerate(self._rungs) if len(rung.completed)), default=-1)
        if self.ongoing_trials or not 0 <= index < len(self._rungs) - 1 or self._rungs[index + 1].failed >= FACTOR:
            return None
        best = self._rungs[index].waiting.best(1)
        return self._promoted(best[0], index) if best else None

    def _promoted(self, trial_id: str, index: int) -> Point:
        values: Point = self.trials[trial_id].hyperparameters.values
        return values | self._schedule(index + 1) | {"tuner/trial_id": trial_id}

    def _new_point(self) -> Point | None:
        if not self.takes_new_points():
            return None
        has_first = self.learns or self.search.space.start  # one that draws at random has none but those of a file
        values = next(filter(self.is_new, self.search.first), None) if has_first else None
        values = self._sampler.propose(self._evidence, self.is_new, self.rng) if values is None else values
        values = self._random_values() if values is None else values
        if values is None:
            self._is_exhausted = True
            return None
        return values | self._schedule(0)

    def _schedule(self, index: int) -> dict[str, int]:
        return {
            "tuner/epochs": self._rungs[index].epochs,
            "tuner/initial_epoch": self._rungs[index - 1].epochs if index else 0,
            "tuner/bracket": 0,
            "tuner/round": index,
        }

    def _evidence(self) -> Evidence:
        """The best points, those of a higher rung before those of a lower one, and the latest of the others."""
        best: dict[str, Point] = {}
        for rung in reversed(self._rungs):
            best |= self._points(rung.completed.best(MOST_BEST - len(best)))
        others = self._points(islice(reversed(self.trials), MOST_OTHERS))
        return Evidence(self._rungs[0].ended, best, {key: point for key, point in others.items() if key not in best})

    def _points(self, trial_ids: Iterable[str]) -> dict[str, Point]:
        return {self._id_to_hash[trial_id]: self.trials[trial_id].hyperparameters.values for trial_id in trial_ids}

    def _compute_values_hash(self, values: Point) -> str:
        """KerasTuner's hash of the point alone: a promoted trial is the same point."""
        own = {name: value for name, value in values.items() if not name.startswith("tuner/")}
        return str(super()._compute_values_hash(own))

    def epochs_ahead(self) -> float | None:
        """Rung by rung those that will enter it: the share that is promoted of what runs and comes in the rung below.

        The share is the one so far where it is larger: the more a sampler learns, the more of its points are promoted.
        """
        left = self._points_left()
        if left is None:
            return None
        ahead, before, entering = 0.0, 0, float(left)
        above = [*self._begun[1:], 0]
        for rung, begun, begun_above in zip(self._rungs, self._begun, above, strict=True):
            ahead += entering * (rung.epochs - before)
            points = begun + entering
            expected = promoted(points) / points if points else 0.0
            early = EARLY * min(1.0, points)  # those that go on early have done so, or are to come
            share = max(expected, (begun_above - early) / (rung.ended + FACTOR))
            least = max(1, int(points) // FACTOR) if points else 0  # the last promotion brings one up
            rest = share * (entering + begun - rung.ended) + (0.0 if begun_above else early)
            entering = max(rest, least - begun_above)
            before = rung.epochs
        return ahead

    def epochs_a_point(self, points: float = TYPICAL_POINTS) -> float:
        first, *later = self._rungs
        lengths = [rung.epochs - below.epochs for rung, below in zip(later, self._rungs, strict=False)]
        promoted_epochs = sum(n * length for n, length in zip(self._entering(points)[1:], lengths, strict=True))
        if self.learns:  # the better its points become, the more of them are promoted
            promoted_epochs *= 1 + max(0.0, 1 - LEARNING / points)
        return first.epochs + promoted_epochs / points

    def setups_a_point(self, points: float = TYPICAL_POINTS) -> float:
        promotions = sum(self._entering(points)[1:]) / points
        # All but those that waited go on at once: the number that did is of the order of the root, by simulations too.
        waited = min(promotions, 1 / math.sqrt(points))
        return 1 + waited + CONTINUED * (promotions - waited)

    def _entering(self, points: float) -> list[float]:
        """How many of so many points are expected in each rung."""
        found = [points]
        while len(found) < len(self._rungs):
            found.append(promoted(found[-1]) + EARLY * min(1.0, found[-1]))
        return found

    def continuable(self) -> set[str]:
        """The best that wait, some of each rung: those that the rule promotes next."""
        return {trial_id for rung in self._rungs[:-1] for trial_id in rung.waiting.best(HELD)}

    def most_continuable(self) -> int:
        return HELD * (len(self._rungs) - 1)
