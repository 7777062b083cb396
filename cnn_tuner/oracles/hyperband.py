"""Hyperband: many points trained a little, the better ones trained on (Li et al., 2018, jmlr.org/papers/v18/16-558)."""

from __future__ import annotations

import math
from typing import Any

import keras_tuner

from cnn_tuner.errors import SearchError
from cnn_tuner.oracles.feasible import IDLE, STOPPED, FeasibleOracle, Search
from cnn_tuner.runs.budget import TYPICAL_POINTS
from cnn_tuner.spaces.tree import Point

Bracket = dict[str, Any]  # KerasTuner's: {"bracket_num": s, "rounds": [[{"past_id": ..., "id": ...}, ...], ...]}


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
        self._brackets: list[Bracket]
        self._is_exhausted = False
        # By id, those in which nothing can begin until one of their trials ends; with 1,000 workers many are open.
        self._quiet: set[int] = set()
        self._bracket_ids: dict[str, int] = {}  # of the trials that run

    def _suggestion(self, trial_id: str) -> dict[str, Any]:
        self._drop_ended_brackets()
        for bracket in [each for each in self._brackets if id(each) not in self._quiet]:
            values = self._new_point(bracket) or self._promotion(bracket)
            if values is not None:
                return self._enter(trial_id, bracket, values)
            if self.takes_new_points():  # without, rounds that were cut short are smaller: all are looked at again
                self._quiet.add(id(bracket))
        if self.takes_new_points():
            self._open_bracket()
            return self._suggestion(trial_id)
        return IDLE if self.ongoing_trials else STOPPED

    def _take_up(self, trial_id: str, values: Point) -> dict[str, Any]:
        self._drop_ended_brackets()
        return self._enter(trial_id, self._bracket_of(values), values)

    def end_trial(self, trial: Any) -> None:
        super().end_trial(trial)
        self._quiet.discard(self._bracket_ids.pop(trial.trial_id))

    def takes_new_points(self) -> bool:
        return not self._is_exhausted and super().takes_new_points()

    def _open_bracket(self) -> None:
        self._increment_bracket_num()
        self._start_new_bracket()

    def _enter(self, trial_id: str, bracket: Bracket, values: Point) -> dict[str, Any]:
        """Notes in its bracket that a point starts or goes on."""
        self._bracket_ids[trial_id] = id(bracket)
        bracket["rounds"][values["tuner/round"]].append({"past_id": values.get("tuner/trial_id"), "id": trial_id})
        return self.suggest(values)

    def _bracket_of(self, values: Point) -> Bracket:
        """The bracket in which an earlier process let a point start or go on."""
        parent, number = values.get("tuner/trial_id"), values["tuner/bracket"]
        for bracket in (each for each in self._brackets if each["bracket_num"] == number):
            if parent is None and self._has_room(bracket):
                return bracket
            if any(entry["id"] == parent for entry in bracket["rounds"][int(values["tuner/round"]) - 1]):
                return bracket
        if parent is not None or not 0 <= int(number) < self._get_num_brackets():
            raise SearchError(f"Hyperband for {self.max_epochs} epochs has no place for what an earlier session tried")
        self._open_bracket()
        return self._bracket_of(values)

    def _has_room(self, bracket: Bracket) -> bool:
        return len(bracket["rounds"][0]) < self._get_size(bracket["bracket_num"], 0)

    def _new_point(self, bracket: Bracket) -> Point | None:
        """A new point for the first round of a bracket, if it has room."""
        if not self._has_room(bracket) or not self.takes_new_points():
            return None
        values = self._random_values()
        if values is None:
            self._is_exhausted = True
            return None
        return values | self._schedule(bracket["bracket_num"], 0)

    def _promotion(self, bracket: Bracket) -> Point | None:
        """The best trial of a round that may go on to the next, if there is one."""
        for index in range(1, len(bracket["rounds"])):
            waiting = self._waiting(bracket, index)
            ended = [trial for trial in waiting if trial.status != "RUNNING"]
            completed = [trial for trial in ended if trial.status == "COMPLETED"]
            dropped = self._size(bracket, index - 1) - self._size(bracket, index)
            if completed and len(ended) > dropped and self._places(bracket, index) > 0:
                best = self._ranked(completed)[0]
                schedule = self._schedule(bracket["bracket_num"], index)
                values: Point = best.hyperparameters.values | schedule | {"tuner/trial_id": best.trial_id}
                return values
        return None

    def _waiting(self, bracket: Bracket, index: int) -> list[Any]:
        """The trials of the round before `index` that were not promoted to it."""
        promoted = {entry["past_id"] for entry in bracket["rounds"][index]}
        return [self.trials[entry["id"]] for entry in bracket["rounds"][index - 1] if entry["id"] not in promoted]

    def _places(self, bracket: Bracket, index: int) -> int:
        return self._size(bracket, index) - len(bracket["rounds"][index])

    def _ranked(self, completed: list[Any]) -> list[Any]:
        sign = -1 if self.objective.direction == "max" else 1
        return sorted(completed, key=lambda trial: sign * trial.score)

    def epochs_ahead(self) -> float | None:
        """What the open brackets have room for, and then as many brackets as the points that are left fill."""
        left = self._points_left()
        if left is None:
            return None
        ahead, number = 0, self._current_bracket
        for bracket in self._brackets:
            begun = [len(entries) for entries in bracket["rounds"]]
            new = min(left, self._get_size(bracket["bracket_num"], 0) - begun[0])
            ahead += self._epochs_ahead_of(bracket["bracket_num"], begun[0] + new, begun)
            left -= new
        while left > 0:
            number = (number or self._get_num_brackets()) - 1
            new = min(left, self._get_size(number, 0))
            ahead += self._epochs_ahead_of(number, new, [0] * self._get_num_rounds(number))
            left -= new
        return float(ahead)

    def _epochs_ahead_of(self, number: int, points: int, begun: list[int]) -> int:
        """Of a bracket with so many points, so many of which have entered each of its rounds."""
        ahead, before = 0, 0
        for index, entered in enumerate(begun):
            size = min(self._get_size(number, index), math.ceil(points / self.factor**index))
            epochs = self._get_epochs(number, index)
            ahead += max(0, size - entered) * (epochs - before)
            before = epochs
        return int(ahead)

    def epochs_a_point(self, points: float = TYPICAL_POINTS) -> float:
        rounds = self._planned_rounds()
        trained = sum(size * (epochs - before) for size, epochs, before in rounds)
        return trained / sum(size for size, _, before in rounds if before == 0)

    def setups_a_point(self, points: float = TYPICAL_POINTS) -> float:
        rounds = self._planned_rounds()
        return sum(size for size, *_ in rounds) / sum(size for size, _, before in rounds if before == 0)

    def _planned_rounds(self) -> list[tuple[int, int, int]]:
        """Of every round of every bracket how many trials it has, up to which epoch it trains, and from which."""
        found = []
        for bracket in range(self._get_num_brackets()):
            for index in range(self._get_num_rounds(bracket)):
                before = self._get_epochs(bracket, index - 1) if index else 0
                found.append((self._get_size(bracket, index), self._get_epochs(bracket, index), before))
        return found

    def continuable(self) -> set[str]:
        """Of each round those that run, and as many of the best as the next round has places."""
        found: set[str] = set()
        for bracket in self._brackets:
            for index in range(1, len(bracket["rounds"])):
                waiting = self._waiting(bracket, index)
                completed = [trial for trial in waiting if trial.status == "COMPLETED"]
                best = self._ranked(completed)[: self._places(bracket, index)]
                found |= {trial.trial_id for trial in best + [t for t in waiting if t.status == "RUNNING"]}
        return found

    def most_continuable(self) -> int:
        last = self._get_num_brackets() - 1
        return 2 * int(sum(self._get_size(last, index) for index in range(1, last + 1)))  # two brackets may be open

    def _drop_ended_brackets(self) -> None:
        """Forgets brackets in which nothing can begin any more: their number would grow with the trials."""
        if not self.takes_new_points():
            self._quiet.clear()
        self._brackets = [each for each in self._brackets if id(each) in self._quiet or not self._has_ended(each)]

    def _has_ended(self, bracket: Bracket) -> bool:
        entries = (entry for each in bracket["rounds"] for entry in each)
        is_running = any(self.trials[entry["id"]].status == "RUNNING" for entry in entries)
        return not self._has_room(bracket) and not is_running and self._promotion(bracket) is None

    def _size(self, bracket: Bracket, index: int) -> int:
        """How many trials a round has: as KerasTuner plans it, or fewer when the first round was cut short."""
        planned = self._get_size(bracket["bracket_num"], index)
        if self.takes_new_points():
            return int(planned)
        return int(min(planned, math.ceil(len(bracket["rounds"][0]) / self.factor**index)))

    def _schedule(self, bracket_num: int, index: int) -> dict[str, int]:
        return {
            "tuner/epochs": self._get_epochs(bracket_num, index),
            "tuner/initial_epoch": self._get_epochs(bracket_num, index - 1) if index else 0,
            "tuner/bracket": bracket_num,
            "tuner/round": index,
        }
