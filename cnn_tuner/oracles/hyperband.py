"""Hyperband: many points trained a little, the better ones trained on (Li et al., 2018, jmlr.org/papers/v18/16-558)."""

from __future__ import annotations

import math
from typing import Any

import keras_tuner

from cnn_tuner.oracles.feasible import FeasibleOracle, Search

IDLE: dict[str, Any] = {"status": "IDLE", "values": None}
STOPPED: dict[str, Any] = {"status": "STOPPED", "values": None}


class HyperbandOracle(FeasibleOracle, keras_tuner.oracles.HyperbandOracle):
    """KerasTuner's brackets and rounds over feasible points, until the search has its number of points.

    KerasTuner promotes only when enough trials of a round have completed, so that a few failures silently cancel the
    rounds above. Here a failed trial counts as one that has ended, and the best of the completed go on. A bracket cut
    short by the number of points, or by the end of the space, has smaller rounds.
    """

    promotes = True

    def __init__(self, search: Search) -> None:
        # 0 iterations is KerasTuner's word for "without end": the number of points ends the search.
        super().__init__(search, max_epochs=search.epochs, hyperband_iterations=0)
        self._points = 0
        self._is_exhausted = False

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        for bracket in self._brackets:
            answer = self._start(trial_id, bracket) or self._promote(trial_id, bracket)
            if answer is not None:
                return answer
        if self._takes_new_points():
            self._increment_bracket_num()
            self._start_new_bracket()
            return self.populate_space(trial_id)
        return IDLE if self.ongoing_trials else STOPPED

    def _takes_new_points(self) -> bool:
        limit = self.search.max_trials
        return not self._is_exhausted and (limit is None or self._points < limit)

    def _start(self, trial_id: str, bracket: dict[str, Any]) -> dict[str, Any] | None:
        """A new point for the first round of a bracket, if it has room."""
        number, first = bracket["bracket_num"], bracket["rounds"][0]
        if len(first) >= self._get_size(number, 0) or not self._takes_new_points():
            return None
        values = self._random_values()
        if values is None:
            self._is_exhausted = True
            return None
        self._points += 1
        first.append({"past_id": None, "id": trial_id})
        return self.suggest(values | self._schedule(number, 0))

    def _promote(self, trial_id: str, bracket: dict[str, Any]) -> dict[str, Any] | None:
        """The best trial of a round that may go on to the next, if there is one."""
        rounds = bracket["rounds"]
        for index in range(1, len(rounds)):
            promoted = {entry["past_id"] for entry in rounds[index]}
            waiting = [self.trials[entry["id"]] for entry in rounds[index - 1] if entry["id"] not in promoted]
            ended = [trial for trial in waiting if trial.status != "RUNNING"]
            completed = [trial for trial in ended if trial.status == "COMPLETED"]
            dropped = self._size(bracket, index - 1) - self._size(bracket, index)
            if completed and len(ended) > dropped and len(promoted) < self._size(bracket, index):
                sign = -1 if self.objective.direction == "max" else 1
                best = min(completed, key=lambda trial: sign * trial.score)
                rounds[index].append({"past_id": best.trial_id, "id": trial_id})
                schedule = self._schedule(bracket["bracket_num"], index)
                return self.suggest(best.hyperparameters.values | schedule | {"tuner/trial_id": best.trial_id})
        return None

    def _size(self, bracket: dict[str, Any], index: int) -> int:
        """How many trials a round has: as KerasTuner plans it, or fewer when the first round was cut short."""
        planned = self._get_size(bracket["bracket_num"], index)
        if self._takes_new_points():
            return int(planned)
        return int(min(planned, math.ceil(len(bracket["rounds"][0]) / self.factor**index)))

    def _schedule(self, bracket_num: int, index: int) -> dict[str, int]:
        return {
            "tuner/epochs": self._get_epochs(bracket_num, index),
            "tuner/initial_epoch": self._get_epochs(bracket_num, index - 1) if index else 0,
            "tuner/bracket": bracket_num,
            "tuner/round": index,
        }
