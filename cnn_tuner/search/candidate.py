"""The winner of a final training, as it was left: what is saved, evaluated and exported."""

from __future__ import annotations

from dataclasses import dataclass

from cnn_tuner.runs.records import Finalist, Job, Result, Trial


@dataclass(frozen=True)
class Candidate:
    """The winner as it was left: the job that left its weights, what its twin reached, and all epochs it was trained.

    `twin` is the job whose validation score counts, the same job where nothing was trained again; `refit` says
    `REFIT_DONE` or why not. `finalists` are all that it was chosen from.
    """

    trial: Trial
    job: Job
    twin: Job
    result: Result
    epochs: int
    finalists: tuple[Finalist, ...]
    refit: str

    def passes(self, epoch_share: float) -> float:
        """How often its training images were shown, where an epoch of the search has this share of them."""
        begins_in_search = self.job.grows or self.job.epoch_steps is not None
        searched = self.trial.epochs_done if begins_in_search else 0
        return self.epochs - searched * (1 - epoch_share)
