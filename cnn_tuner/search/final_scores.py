"""What the final trainings of a run have reached: the scores of each finalist, and whose state is kept."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Container

from cnn_tuner.runs.records import Finalist, JobRecord, Trial, last_loss
from cnn_tuner.runs.store import RunStore


class FinalScores:
    """Read from the store. `under_way` are the jobs that have not ended."""

    def __init__(self, store: RunStore, under_way: Container[int]) -> None:
        self.store, self.under_way = store, under_way

    def comparable(self, chosen: list[Trial]) -> list[Finalist]:
        """The finalists by the seeds that all have, where each seed has a validation part of its own."""
        common = [{record.replicate for record in self.scored(trial.number)} for trial in chosen]
        shared = set.intersection(*common) if self.store.config.redraws_val else set()
        return [self.finalist(trial, shared) for trial in chosen]

    def drop_worse_states(self, trial: int) -> None:
        """Of the seeds of a finalist only the best one's state can be needed, and those that may be gone on with."""
        kept = [record.number for record in self.twins(trial)[:1]]
        for record in self.scored(trial):
            if record.number not in kept:
                self.store.state_file(record.number).unlink(missing_ok=True)

    def twins(self, trial: int) -> list[JobRecord]:
        """Those of `scored` whose score is that of the run's own validation part, so that they can be exported."""
        scored = self.scored(trial)
        return [record for record in scored if record.replicate == 0] if self.store.config.redraws_val else scored

    def scored(self, trial: int) -> list[JobRecord]:
        """The final trainings of a trial that ended with a score, the best first."""
        sign = -1 if self.store.config.objective.direction == "max" else 1
        records = [
            record
            for record in self.store.final_jobs(trial).values()
            if record.number not in self.under_way and not record.is_refit and record.score is not None
        ]
        counting = [record for record in records if record.status == "completed"] or records
        return sorted(
            counting, key=lambda record: (sign * float(record.score or 0.0), self._loss(record), record.replicate)
        )

    def finalist(self, trial: Trial, among: Collection[int] = ()) -> Finalist:
        """A finalist with the score of each seed; seeds that were cut short count where no other one was not.

        `among` are the seeds that count, all where none is named.
        """
        scored = [record for record in self.scored(trial.number) if not among or record.replicate in among]
        scored.sort(key=lambda record: record.replicate)
        searched = float(trial.score or 0.0)
        scores = tuple(float(record.score or 0.0) for record in scored) or (searched,)
        losses = [self._loss(record) for record in scored] or [last_loss(trial.epochs)]
        splits = self.store.config.redraws_val and len(scores) > 1
        return Finalist(trial.number, trial.params, searched, scores, statistics.mean(losses), splits)

    def _loss(self, record: JobRecord) -> float:
        return last_loss(self.store.epochs(record.number))
