"""What every oracle here has in common: it suggests only points that can be trained, and none twice.

An oracle has no state that a run's recorded events do not give back: what it draws depends on the seed and on how many
suggestions went before, and `restore` takes up the suggestions that an earlier process made.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import keras_tuner

from cnn_tuner.errors import SearchError
from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.runs.budget import TYPICAL_POINTS
from cnn_tuner.spaces import hyperparameters
from cnn_tuner.spaces.tree import Point, SearchSpace

MAX_DRAWS = 2_000  # at random for one new feasible point, before the space is taken for exhausted
MAX_LISTED = 20_000  # points of a finite space that are listed rather than drawn
STOPPED: dict[str, Any] = {"status": "STOPPED", "values": None}
IDLE: dict[str, Any] = {"status": "IDLE", "values": None}


@dataclass(frozen=True)
class Search:
    """What an oracle must know of the search it serves.

    `why_infeasible` says why a point cannot be trained, or None. `max_trials` None leaves the number of points to the
    oracle. `epochs` is the most that one point is trained, `least_epochs` the least that tells anything. `sampler`
    names where new points come from, for an oracle that leaves the choice; None is its default. With `has_cost` there
    is a second objective, to be as small as can be: the search puts each completed trial's into the oracle's `costs`.
    `first` are points that asha tries before its own.
    """

    space: SearchSpace
    why_infeasible: Callable[[Point], str | None]
    objective: Objective
    max_trials: int | None
    epochs: int
    seed: int
    sampler: str | None = None
    has_cost: bool = False
    least_epochs: int = 1
    first: tuple[Point, ...] = ()


class FeasibleOracle(keras_tuner.Oracle):
    """Base of the oracles: draws feasible, untried points and keeps nothing on disk.

    Mixed in before one of KerasTuner's oracles, it replaces how that oracle draws at random. A subclass says in
    `_propose` which point comes next.
    """

    learns = False  # whether what it suggests depends on what trials have reached
    is_anytime = False  # whether nothing is lost where it is ended between two suggestions: it has no rounds
    promotes = False  # whether a trial that has ended may be trained on

    def __init__(self, search: Search, **settings: Any) -> None:
        super().__init__(
            objective=keras_tuner.Objective(search.objective.name, search.objective.direction),
            hyperparameters=hyperparameters.from_space(search.space),
            allow_new_entries=False,
            tune_new_entries=False,
            seed=search.seed,
            max_consecutive_failed_trials=None,  # the search decides when to give up
            **settings,
        )
        self.search = search
        self.max_trials = None  # counted here: KerasTuner counts promotions too, and pads the trials' ids by it
        self.seed = search.seed  # KerasTuner takes seed 0 for "no seed"
        self.verbose = 0
        self.rng = random.Random(search.seed)
        self.costs: dict[str, float] = {}  # of the trials that completed, where there is a second objective
        self.infeasible: Counter[str] = Counter()
        self._new_points = 0
        self._restored: Point | None = None
        self._seen: set[str] = set()
        self._untried = self._shuffled()
        self._most_points = search.space.size().points if search.space.is_finite() else None

    def save(self) -> None:
        """Nothing: the run's store is the truth, and every event is in it."""

    def _save_trial(self, trial: Any) -> None:
        """Nothing, as above."""

    def _check_consecutive_failures(self) -> None:
        """Nothing: the search decides when to give up, and KerasTuner would look at every trial after each."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        self.rng = random.Random(f"{self.seed}-{len(self.trials)}")
        return self._suggestion(trial_id) if self._restored is None else self._take_up(trial_id, self._restored)

    def _suggestion(self, trial_id: str) -> dict[str, Any]:
        """KerasTuner's answer to a request for a trial."""
        values = self._propose() if self.takes_new_points() else None
        return STOPPED if values is None else self.suggest(values)

    def _take_up(self, trial_id: str, values: Point) -> dict[str, Any]:
        """The answer that was given once already."""
        return self.suggest(values)

    def _propose(self) -> Point | None:
        """The next new point, or None when there is no more."""
        return self._random_values()

    def restore(self, trial_id: str, values: Point) -> Any:
        """KerasTuner's trial for a suggestion of an earlier process. Call in the order in which they were made.

        Raises:
            SearchError: suggestions are missing before this one.
        """
        self._restored = values
        try:
            trial = self.create_trial(f"restored-{trial_id}")
        finally:
            self._restored = None
        if trial.trial_id != trial_id:
            raise SearchError(f"the oracle's trial {trial_id} comes out of order: {trial.trial_id} is missing")
        return trial

    def continuable(self) -> set[str]:
        """The ids of the trials that may still be trained on."""
        return set()

    def most_continuable(self) -> int:
        """How many trials may be waiting at once to be trained on."""
        return 0

    def takes_new_points(self) -> bool:
        """Whether the search has not yet had its number of points."""
        limit = self.search.max_trials
        return limit is None or self._new_points < limit

    def epochs_ahead(self) -> float | None:
        """About how many epochs are still to be suggested, promotions included; None where nothing limits them.

        Not those of trials that run. A space whose last points are infeasible takes fewer.
        """
        left = self._points_left()
        return None if left is None else left * self.epochs_a_point()

    def epochs_a_point(self, points: float = TYPICAL_POINTS) -> float:
        """How many epochs a point is trained on average, in a search of so many."""
        return float(self.search.epochs)

    def setups_a_point(self, points: float = TYPICAL_POINTS) -> float:
        """How many times what a set-up takes is spent on a point beside its epochs, on average."""
        return 1.0

    def _points_left(self) -> int | None:
        if not self.takes_new_points():
            return 0
        limits = [limit for limit in (self.search.max_trials, self._most_points) if limit is not None]
        return max(0, min(limits) - self._new_points) if limits else None

    def is_new(self, values: Point) -> bool:
        """Whether `values` can be trained and were not suggested before. Counts the reasons of those that cannot."""
        if self._compute_values_hash(values) in self._seen:
            return False
        reason = self.search.why_infeasible(values)
        if reason is not None:
            self.infeasible[reason] += 1
        return reason is None

    def suggest(self, values: Point) -> dict[str, Any]:
        """KerasTuner's answer that starts a trial with `values`."""
        self._seen.add(self._compute_values_hash(values))
        self._new_points += "tuner/trial_id" not in values
        return {"status": "RUNNING", "values": dict(values)}

    def _random_values(self) -> Point | None:
        """A new feasible point drawn at random, or None when the space has no more."""
        if self._untried is not None:
            return next(filter(self.is_new, self._untried), None)
        draws = (self.search.space.sample(self.rng) for _ in range(MAX_DRAWS))
        return next((point for point in draws if self.is_new(point)), None)

    def _shuffled(self) -> Iterator[Point] | None:
        """Every point of a small finite space in random order: drawing without end would miss the last ones."""
        space = self.search.space
        if not space.is_finite() or space.size().points > MAX_LISTED:
            return None
        points = list(space.points())
        self.rng.shuffle(points)
        return iter(points)

    def random_points(self, count: int) -> list[Point]:
        """Up to `count` new feasible points drawn at random; fewer when the space is narrow."""
        draws = (self.search.space.sample(self.rng) for _ in range(10 * count))
        return list(islice(filter(self.is_new, draws), count))
