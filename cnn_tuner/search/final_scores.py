"""What the final trainings of a run have reached: the scores of each finalist, and whose states are there."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Container
from dataclasses import replace
from pathlib import Path

from cnn_tuner.runs.records import Finalist, Job, JobRecord, Trial, last_loss
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.jobs import next_job


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
                self.store.drop_state(record.number)

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
            if record.number not in self.under_way and record.replicate >= 0 and record.score is not None
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

    def of_this_search(self, trial: Trial, replicate: int) -> JobRecord | None:
        """What an earlier process began or ended of the final training, if the search did not go on since."""
        last = self.store.final_jobs(trial.number).get(replicate)
        searched = max((job.number for job in self.store.jobs() if job.suggestion is not None), default=0)
        return None if last is None or last.status == "failed" or last.number < searched else last

    def is_kept(self, trial: int) -> bool:
        """Whether a trial was trained to the end, and its best weights are there."""
        return any(self.has_state(record.number) for record in self.twins(trial)[:1])

    def has_state(self, job: int | None) -> bool:
        return job is not None and self.store.state_file(job).is_file()

    def trained_seconds(self, record: JobRecord | None) -> float:
        """How long an earlier process trained what has a state to go on with."""
        if record is None or not self.has_state(record.number):
            return 0.0
        return math.fsum(epoch.seconds for epoch in self.store.epochs(record.number))

    def lost_base(self, job: Job) -> Job | None:
        """What is to be trained once more before a job can grow from it: None where a state of either is there."""
        base = job.initial_state
        if not job.grows or base is None or Path(base).is_file() or Path(job.state_file).is_file():
            return None
        [record] = [each for each in self.store.jobs() if str(self.store.state_file(each.number)) == base]
        [trial] = [trial for trial in self.store.trials() if trial.number == job.trial]
        last = self.store.epochs(record.number)[-1].number  # where its time was over, in the final training
        return replace(next_job(self.store, trial, record), epochs=last)
