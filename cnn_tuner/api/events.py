"""Who wants to know what a run does: callbacks of a person's own, told beside what shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_tuner.errors import UsageError
from cnn_tuner.runs.records import Epoch, Trial

if TYPE_CHECKING:
    from cnn_tuner.api.run import Run
    from cnn_tuner.data.dataset import Dataset
    from cnn_tuner.runs.machine import Workers
    from cnn_tuner.runs.store import RunStore
    from cnn_tuner.search.session import Session
    from cnn_tuner.terminal.reporters import Reporter


class Callback:
    """What is told of a run while it goes on: inherit from it and define the methods that are needed.

    All are called in the thread and process that called `tune`, `resume` or `extend`, never in one that trains. The run
    waits for them, so they should be quick. What one raises ends the run, which can be resumed, and reaches the caller.

    Example:
        >>> class Patience(cnn_tuner.Callback):
        ...     def on_trial_end(self, trial, best):
        ...         if best is not None and best.score > 0.9:
        ...             self.stop()
        >>> run = cnn_tuner.tune(data, space, max_trials=1, max_epochs=2, runs=folder, callbacks=[Patience()])
    """

    _session: Session | None = None

    def stop(self) -> None:
        """Ends the run soon, with the best so far exported, as Ctrl-C does. Does nothing where no run is under way.

        Example:
            >>> cnn_tuner.Callback().stop()
        """
        if self._session is not None:
            self._session.request_stop()

    def on_run_begin(self, run: Run) -> None:
        """The run's folder is there, and work on it is about to begin, or to go on.

        Args:
            run: the run; it may be asked at any time.

        Example:
            >>> class Where(cnn_tuner.Callback):
            ...     def on_run_begin(self, run):
            ...         print(run.path)
        """

    def on_trial_begin(self, trial: Trial, epochs: int) -> None:
        """A trial begins, or one that did well is trained on.

        Args:
            trial: its number, its hyperparameters (`values`), its parameters and multiply-adds.
            epochs: up to which it is trained, those that it has had included.

        Example:
            >>> class Sizes(cnn_tuner.Callback):
            ...     def on_trial_begin(self, trial, epochs):
            ...         print(trial.number, trial.params, epochs)
        """

    def on_epoch_end(self, trial: int, epoch: Epoch) -> None:
        """An epoch of a trial ended, of the search or of the final training.

        Args:
            trial: the trial's number.
            epoch: its number, its metrics by name (`loss`, `val_accuracy`, ...) and its seconds.

        Example:
            >>> class Losses(cnn_tuner.Callback):
            ...     def on_epoch_end(self, trial, epoch):
            ...         print(trial, epoch.number, epoch.metrics["val_loss"])
        """

    def on_trial_end(self, trial: Trial, best: Trial | None) -> None:
        """A trial ended: `trial.status` is completed, failed or stopped.

        Args:
            trial: the trial with its score and its epochs.
            best: the best one so far, None where none has a score.

        Example:
            >>> class Best(cnn_tuner.Callback):
            ...     def on_trial_end(self, trial, best):
            ...         print(trial.number, trial.score, best and best.score)
        """

    def on_trial_lost(self, trial: int, reason: str) -> None:
        """The machine lost a trial's training, which is begun again.

        Args:
            trial: the trial's number.
            reason: one line.

        Example:
            >>> class Losses(cnn_tuner.Callback):
            ...     def on_trial_lost(self, trial, reason):
            ...         print(f"trial {trial}: {reason}")
        """

    def on_phase(self, text: str) -> None:
        """Something else than the search begins: the final training, the evaluation, the export.

        Args:
            text: what, for people.

        Example:
            >>> class Phases(cnn_tuner.Callback):
            ...     def on_phase(self, text):
            ...         print(text)
        """

    def on_time_left(self, seconds: float) -> None:
        """It is estimated anew how long the run will take.

        Args:
            seconds: until it is done, its export included.

        Example:
            >>> class Clock(cnn_tuner.Callback):
            ...     def on_time_left(self, seconds):
            ...         print(f"{seconds / 60:.0f} minutes left")
        """

    def on_run_end(self, run: Run) -> None:
        """The run ended with an export, by itself or by request; not where an error ended it.

        Args:
            run: the run.

        Example:
            >>> class Done(cnn_tuner.Callback):
            ...     def on_run_end(self, run):
            ...         print(run.test)
        """


class Telling:
    """An observer that tells a reporter and callbacks, in this order.

    `opened` makes the run in a folder what callbacks are given. `failure` is what one of them raised.
    """

    def __init__(
        self, reporter: Reporter, callbacks: Sequence[Callback] = (), opened: Callable[[Path], Run] | None = None
    ) -> None:
        for each in callbacks:
            if not isinstance(each, Callback):
                raise UsageError(f"callbacks: must be objects of classes of cnn_tuner.Callback, got {each!r}")
        self.reporter, self.callbacks, self.opened = reporter, callbacks, opened
        self.failure: Exception | None = None

    def begin(self, session: Session) -> None:
        """From now on callbacks can stop the session."""
        for callback in self.callbacks:
            callback._session = session

    def end(self, folder: Path | None) -> None:
        """They can no more; the run in `folder` has an export, None where an error ended it."""
        for callback in self.callbacks:
            callback._session = None
        if folder is not None:
            self._tell_of_run(folder, lambda each, run: each.on_run_end(run))

    def _tell_of_run(self, folder: Path, what: Callable[[Callback, Run], None]) -> None:
        if self.opened is not None:
            run = self.opened(folder)
            self._tell(lambda each: what(each, run))

    def _tell(self, what: Callable[[Callback], None]) -> None:
        for callback in self.callbacks:
            try:
                what(callback)
            except Exception as error:
                self.failure = error
                raise

    def run_opened(self, run: RunStore, dataset: Dataset) -> None:
        self.reporter.run_opened(run, dataset)
        self._tell_of_run(run.folder, lambda each, opened: each.on_run_begin(opened))

    def trial_started(self, trial: Trial, epochs: int) -> None:
        self.reporter.trial_started(trial, epochs)
        self._tell(lambda each: each.on_trial_begin(trial, epochs))

    def job_placed(self, trial: int, where: str) -> None:
        self.reporter.job_placed(trial, where)

    def epoch_ended(self, trial: int, epoch: Epoch) -> None:
        self.reporter.epoch_ended(trial, epoch)
        self._tell(lambda each: each.on_epoch_end(trial, epoch))

    def workers_chosen(self, workers: Workers, checkpoint_bytes: int) -> None:
        self.reporter.workers_chosen(workers, checkpoint_bytes)

    def search_restored(self, trials: list[Trial], best: Trial | None) -> None:
        self.reporter.search_restored(trials, best)

    def job_lost(self, trial: int, reason: str) -> None:
        self.reporter.job_lost(trial, reason)
        self._tell(lambda each: each.on_trial_lost(trial, reason))

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        self.reporter.trial_ended(trial, best)
        self._tell(lambda each: each.on_trial_end(trial, best))

    def time_left(self, seconds: float) -> None:
        self.reporter.time_left(seconds)
        self._tell(lambda each: each.on_time_left(seconds))

    def left_out(self, share: float, most_macs: float) -> None:
        self.reporter.left_out(share, most_macs)

    def phase(self, text: str, epochs: int = 0) -> None:
        self.reporter.phase(text, epochs)
        self._tell(lambda each: each.on_phase(text))
