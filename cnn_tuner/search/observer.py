"""Who watches a run, to show it to a person. Every method is called from the thread that runs the search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cnn_tuner.runs.records import Epoch, Trial

if TYPE_CHECKING:
    from cnn_tuner.data.dataset import Dataset
    from cnn_tuner.runs.machine import Workers
    from cnn_tuner.runs.store import RunStore


class Observer(Protocol):
    """What a run tells while it goes on."""

    def run_opened(self, run: RunStore, dataset: Dataset) -> None:
        """The request was accepted: the run's folder is there, and work on it is about to begin."""

    def trial_started(self, trial: Trial, epochs: int) -> None:
        """A trial begins, or goes on, up to `epochs` epochs."""

    def job_placed(self, trial: int, where: str) -> None:
        """A job of a trial is trained on this node of a cluster."""

    def epoch_ended(self, trial: int, epoch: Epoch) -> None:
        """A trial, or the final training, finished an epoch."""

    def workers_chosen(self, workers: Workers, checkpoint_bytes: int) -> None:
        """With what the run is trained, and the most that its checkpoints take."""

    def search_restored(self, trials: list[Trial], best: Trial | None) -> None:
        """The search begins, with these trials of earlier processes; those that run will be gone on with."""

    def job_lost(self, trial: int, reason: str) -> None:
        """The machine lost a trial's job, which is run again."""

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        """A trial ended; `best` is the best one so far."""

    def time_left(self, seconds: float) -> None:
        """About how long it is until the run is done."""

    def left_out(self, share: float, most_macs: float) -> None:
        """The search ended; this share of its space, networks of more multiply-adds, was too large for its budget."""

    def phase(self, text: str, epochs: int = 0) -> None:
        """What follows the search begins: final training (`epochs` in all), evaluation, export."""


class Silent:
    """An observer that shows nothing."""

    def run_opened(self, run: RunStore, dataset: Dataset) -> None: ...

    def trial_started(self, trial: Trial, epochs: int) -> None: ...

    def job_placed(self, trial: int, where: str) -> None: ...

    def epoch_ended(self, trial: int, epoch: Epoch) -> None: ...

    def workers_chosen(self, workers: Workers, checkpoint_bytes: int) -> None: ...

    def search_restored(self, trials: list[Trial], best: Trial | None) -> None: ...

    def job_lost(self, trial: int, reason: str) -> None: ...

    def left_out(self, share: float, most_macs: float) -> None: ...

    def trial_ended(self, trial: Trial, best: Trial | None) -> None: ...

    def time_left(self, seconds: float) -> None: ...

    def phase(self, text: str, epochs: int = 0) -> None: ...
