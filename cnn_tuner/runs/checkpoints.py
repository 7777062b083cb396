"""Which training states stay on disk: those of the best trials and of trials that may go on. Never more than a bound.

A state that was dropped costs time only: a job without it trains its trial from the first epoch, to the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.runs.records import Trial, ranked

STATE_BYTES_PER_PARAMETER = 16  # float32: the weight, two moments of Adam, the average of the weight
STATE_OVERHEAD_BYTES = 2**17  # names and facts
FILES_OF_A_SLOT = 3  # the state that a job began with, its own, and its own while it is written anew


def bound_bytes(largest_params: int, keep: int, continuable: int, slots: int, finalists: int = 1) -> int:
    """The most bytes that the states of one run take; a finalist has one after its final training, as have a refit and
    what it has in common with its twin.
    """
    files = keep + continuable + FILES_OF_A_SLOT * slots + finalists
    return files * (STATE_BYTES_PER_PARAMETER * largest_params + STATE_OVERHEAD_BYTES)


def fold_file(first: Path, number: int) -> Path:
    """Where the network of a fold, counted from 0, leaves its state, of where that of the first one does."""
    return first.with_name(f"{first.stem}.fold{number + 1}{first.suffix}") if number else first


def files_of(first: Path) -> list[Path]:
    """The files of a training state that are there, one for each fold. Folds may have come as far as they have."""
    there = [first] if first.exists() else []
    number = 1
    while (path := fold_file(first, number)).exists():
        there.append(path)
        number += 1
    return there


class Checkpoints:
    """The states of one run: `keep` best trials, and at most `continuable` more that may go on.

    `choose` says which trials are the best, at most so many of those that it is given: those that the final training
    would take up.
    """

    def __init__(
        self,
        keep: int,
        continuable: int,
        objective: Objective,
        drop: Callable[[int], None],
        choose: Callable[[Sequence[Trial], int], list[Trial]] | None = None,
    ) -> None:
        self.keep, self.most = keep, keep + continuable
        self.objective, self.drop = objective, drop
        self.choose = self._ranked if choose is None else choose
        self._held: dict[int, Trial] = {}

    def add(self, trial: Trial, running: Collection[int] = (), continuable: Collection[int] = ()) -> None:
        """Takes in a trial whose job has ended, and drops the states that nobody needs any more.

        Args:
            trial: its `state_job` names its state; that of an earlier job is dropped.
            running: the trials with a job under way, which may have begun with their state.
            continuable: the trials that may be trained on.
        """
        earlier = self._held.pop(trial.number, None)
        if earlier is not None and earlier.state_job != trial.state_job and earlier.state_job is not None:
            self.drop(earlier.state_job)
        if trial.state_job is not None:
            self._held[trial.number] = trial
        self.tidy(running, continuable)

    @staticmethod
    def _ranked(order: Sequence[Trial], most: int) -> list[Trial]:
        return [trial for trial in order if trial.score is not None][:most]

    def tidy(self, running: Collection[int] = (), continuable: Collection[int] = ()) -> None:
        """Drops the states that nobody needs any more."""
        order = [trial for trial in ranked(self._held.values(), self.objective) if trial.number not in running]
        best = [trial.number for trial in self.choose(order, self.keep)]
        more = [trial.number for trial in order if trial.number in continuable and trial.number not in best]
        needed = {*best, *more[: self.most - len(best)], *running}
        for number in self._held.keys() - needed:
            state_job = self._held.pop(number).state_job
            if state_job is not None:
                self.drop(state_job)
