"""A run as a Python object: what was found, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn_tuner.api import asking, running, words
from cnn_tuner.api.events import Callback, Telling
from cnn_tuner.api.exported import Export
from cnn_tuner.api.loading import quiet_tensorflow
from cnn_tuner.api.running import Verbose
from cnn_tuner.api.trials import Trials
from cnn_tuner.api.words import HANG_SECONDS, told_in_keywords
from cnn_tuner.errors import UsageError

if TYPE_CHECKING:
    import keras

    from cnn_tuner.runs.machine import Workers
    from cnn_tuner.runs.records import Trial, Winner
    from cnn_tuner.runs.store import RunStore
    from cnn_tuner.search.observer import Observer
    from cnn_tuner.search.resuming import Resuming, Wishes
    from cnn_tuner.search.tuning import Tuning


class Run:
    """A run in its folder: what it found so far, and how to go on with it. It may be at work now, in any process.

    Every question is answered from the run's store, so that the object can be kept, pickled and copied.

    Example:
        >>> run = cnn_tuner.load(run.path)
        >>> print(run.name, run.score, run.is_complete)
    """

    def __init__(self, path: str | Path) -> None:
        """The run in a folder.

        Args:
            path: the folder, such as `runs/digits-quick-1`.

        Raises:
            UsageError: there is no run.
            StorageError: its store cannot be read.
        """
        self.path: Path = Path(path).expanduser().absolute()
        """The run's folder."""
        with self._store():
            pass

    def _store(self) -> closing[RunStore]:
        from cnn_tuner.runs.store import RunStore

        return closing(RunStore.open(self.path))

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
        return self.path.name

    @property
    def objective(self) -> str:
        """What was searched for, such as `val_accuracy`: what scores are."""
        with self._store() as store:
            return store.config.objective.name

    @property
    def best(self) -> Trial | None:
        """The winner's trial; before there is one, the best trial so far; None before any has a score."""
        with self._store() as store:
            winner = store.winner()
            return store.best_trial() if winner is None else next(t for t in store.trials() if t.number == winner.trial)

    @property
    def trials(self) -> Trials:
        """Every trial by number, with the epochs that the search trained."""
        with self._store() as store:
            return Trials(store.trials())

    @property
    def score(self) -> float | None:
        """The objective of the winner after its final training, or of the best trial so far; None before either."""
        winner = self._winner()
        if winner is not None:
            return winner.score
        return None if (best := self.best) is None else best.score

    @property
    def test(self) -> dict[str, float]:
        """The winner's metrics on the test part, by name; empty before there is a winner."""
        return {} if (winner := self._winner()) is None else winner.test

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Their 95 % intervals, by name."""
        return {} if (winner := self._winner()) is None else winner.test_intervals

    @property
    def baselines(self) -> dict[str, dict[str, float]]:
        """What simple models reach on the same test part: by model its metrics; empty before there is a winner."""
        return {} if (winner := self._winner()) is None else {each.name: each.test for each in winner.baselines}

    def _winner(self) -> Winner | None:
        with self._store() as store:
            return store.winner()

    @property
    def is_complete(self) -> bool:
        """Whether it has been searched, trained, evaluated and exported as was asked for."""
        with self._store() as store:
            return store.is_complete

    @property
    def is_interrupted(self) -> bool:
        """Whether it was stopped or killed before it was complete, and nobody is at work on it: `resume` goes on."""
        with self._store() as store:
            return not store.is_complete and not store.is_at_work

    @property
    def exported(self) -> Export:
        """The newest export.

        Raises:
            UsageError: there is none yet.
        """
        with self._store() as store:
            try:
                return Export(store.latest_export())
            except UsageError as error:
                raise UsageError(f"{self.path}: has no export yet; make one with export()") from error

    @told_in_keywords()
    def model(self) -> keras.Model:
        """The winner as a Keras model, which takes pixels 0 to 255 (N, H, W, C), not compiled.

        Returns:
            The model in the run's `best.keras`.

        Raises:
            UsageError: there is none yet.
            VerificationError: the file cannot be read, or holds what is not to be loaded.

        Example:
            >>> print(run.model().count_params())
        """
        with self._store() as store:
            file, is_chain = store.best_model, store.config.hypermodel is None
        if not file.is_file():
            raise UsageError(f"{self.path}: has no model yet; resume() goes on, export() trains the best so far")
        with quiet_tensorflow():
            from cnn_tuner.export.formats import keras_file

            return keras_file.load(file, is_chain)

    @told_in_keywords()
    def export(
        self,
        formats: str | Sequence[str] | None = None,
        trial: int | None = None,
        data: Any = None,
        hypermodel: Any = None,
        *,
        verbose: Verbose = "auto",
    ) -> Export:
        """Export the winner again, or another trial, as the next version, and verify it in new processes.

        A run that was cut short has its finalists trained to the end first, another trial is, too.

        Args:
            formats: beside the SavedModel: keras, litert, litert_int8, onnx; text with commas or a sequence. None:
                the run's.
            trial: the number of a trial. None: the winner.
            data: where the run's images lie now, or the images; needed where they were given in Python.
            hypermodel: as for `tune`.
            verbose: as for `tune`.

        Returns:
            The export, which is also `exported` from now on.

        Raises:
            UsageError: no such trial or format.
            DataError: the data cannot be read again, or is not what it was.
            SearchError: no trial completed.
            VerificationError: the export does not predict what was measured.

        Example:
            >>> export = run.export(formats="keras", data=data, verbose=0)
            >>> print(export.path)
        """
        with self._store() as store:
            made = running.export(
                store,
                running.reporter_of(verbose),
                trial,
                words.formats(formats),
                asking.moved(data),
                running.hushed(words.cache_options(), verbose),
                "run.export()",
                hypermodel,
            )
        return Export(made.path)

    @told_in_keywords()
    def report(self, path: str | Path | None = None) -> Path:
        """Write the run as one page for a browser, of whatever it has reached.

        Args:
            path: a file. None: `report.html` of the run.

        Returns:
            The file.

        Raises:
            UsageError: it cannot be a file.

        Example:
            >>> print(run.report())
        """
        from cnn_tuner.report import page

        with self._store() as store:
            return page.write(store, None if path is None else Path(path).expanduser())

    @told_in_keywords()
    def evaluate(self, data: Any = None) -> dict[str, Any]:
        """What the newest export says of the run's test part.

        Args:
            data: where the run's images lie now, or the images; needed where they were given in Python.

        Returns:
            `test`: metrics by name; `intervals`: their 95 % intervals; `classes`: precision, recall and F1 of each;
            `images`: how many; `run`, `export`, `parts`.

        Raises:
            UsageError: there is no export.
            DataError: the data cannot be read again, or is not what it was.

        Example:
            >>> print(run.evaluate(data)["test"])
        """
        with self._store() as store, quiet_tensorflow():
            from cnn_tuner.search.tuning import evaluate_run

            return evaluate_run(store, asking.moved(data), words.cache_options())

    @told_in_keywords()
    def resume(
        self,
        space: str | Path | None = None,
        data: Any = None,
        *,
        oracle: str | None = None,
        objective: str | None = None,
        sampler: str | None = None,
        budget: str | float | None = None,
        max_trials: int | None = None,
        max_epochs: int | None = None,
        finalists: int | None = None,
        final_seeds: int | None = None,
        final_epochs: int | None = None,
        seed: int | None = None,
        keep: int | None = None,
        accept_changes: bool = False,
        keep_space: bool = False,
        workers: str | int | None = None,
        executor: str | None = None,
        address: str | None = None,
        cpus_per_trial: float | None = None,
        gpus_per_trial: float | None = None,
        shared_dir: str | Path | None = None,
        precision: str | None = None,
        timeout: float = HANG_SECONDS,
        cache: str | Path | None = None,
        cache_limit: str | int | None = None,
        hypermodel: Any = None,
        callbacks: Sequence[Callback] = (),
        verbose: Verbose = "auto",
    ) -> Run:
        """Go on with a run that was stopped or killed: no finished trial is lost, none is run twice.

        What differs from when the run began is named in an error; `accept_changes` takes it up where that makes sense.

        Args:
            space: another search space.
            data: where the run's images lie now, or the images; needed where they were given in Python.
            oracle, sampler, budget, max_trials, max_epochs, finalists, final_seeds, final_epochs, keep, precision: as
                for `tune`; None: as the run has it. `budget` and `max_trials` are in all.
            objective, seed: refused if they are others.
            accept_changes: go on with what differs from when the run began.
            keep_space: go on with the search space as it was, whatever its file says now.
            workers, executor, address, cpus_per_trial, gpus_per_trial, shared_dir, timeout, cache, cache_limit: as for
                `tune`.
            hypermodel, callbacks, verbose: as for `tune`.

        Returns:
            This run.

        Raises:
            UsageError: nothing is left to do, another process is at work on it, or something differs.
            DataError: the data cannot be read again, or is not what it was.
            SearchError, StorageError, VerificationError: as for `tune`.

        Example:
            >>> run = run.resume(data=data, max_trials=3, accept_changes=True, verbose=0)
        """
        given = dict(locals())  # every keyword, as `asking.resuming` has them
        del given["self"], given["callbacks"], given["verbose"]
        command = asking.call("run.resume", asking.resuming, given)
        return self._go_on(*asking.resuming(**given), command, callbacks, verbose)

    @told_in_keywords()
    def extend(
        self,
        budget: str | float | None = None,
        trials: int | None = None,
        *,
        data: Any = None,
        accept_changes: bool = False,
        keep_space: bool = False,
        workers: str | int | None = None,
        executor: str | None = None,
        address: str | None = None,
        cpus_per_trial: float | None = None,
        gpus_per_trial: float | None = None,
        shared_dir: str | Path | None = None,
        timeout: float = HANG_SECONDS,
        cache: str | Path | None = None,
        cache_limit: str | int | None = None,
        hypermodel: Any = None,
        callbacks: Sequence[Callback] = (),
        verbose: Verbose = "auto",
    ) -> Run:
        """Go on with a finished run, for more time or more trials, knowing those it has had.

        Args:
            budget: active time besides what the run has had: `"10m"`, or seconds.
            trials: points to try besides those of the run so far. One of the two is to be named.
            data: where the run's images lie now, or the images; needed where they were given in Python.
            accept_changes, keep_space: as for `resume`.
            workers, executor, address, cpus_per_trial, gpus_per_trial, shared_dir, timeout, cache, cache_limit: as for
                `tune`.
            hypermodel, callbacks, verbose: as for `tune`.

        Returns:
            This run.

        Raises:
            UsageError, DataError, SearchError, StorageError, VerificationError: as for `resume`.

        Example:
            >>> run = run.extend(trials=1, data=data, verbose=0)
        """
        given = dict(locals())  # every keyword, as `asking.extending` has them
        del given["self"], given["callbacks"], given["verbose"]
        command = asking.call("run.extend", asking.extending, given)
        return self._go_on(*asking.extending(**given), command, callbacks, verbose)

    def _go_on(
        self, wishes: Wishes, workers: Workers, command: str, callbacks: Sequence[Callback], verbose: Verbose
    ) -> Run:
        from cnn_tuner.search.resuming import Resuming

        wishes = replace(wishes, cache=running.hushed(wishes.cache, verbose))
        with self._store() as store:
            return completed(lambda observer: Resuming(store, wishes, observer, workers, command), callbacks, verbose)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        with self._store() as store:
            trials, winner = store.trials(), store.winner()
            best = store.best_trial() if winner is None else winner
            reached = "" if best is None else f", {store.config.objective.name} {best.score:.4f}"
            state = "" if store.is_complete else ", not complete"
            return f"<Run {str(self.path)!r}: {len(trials)} trials{reached}{state}>"

    def _repr_html_(self) -> str:
        from cnn_tuner.report import page, templates

        with self._store() as store:
            return templates.render("head.html", **page.head(store))


def completed(make: Callable[[Observer], Tuning | Resuming], callbacks: Sequence[Callback], verbose: Verbose) -> Run:
    """The run that a session has brought to its end."""
    telling = Telling(running.reporter_of(verbose), callbacks, Run)
    outcome = running.run(make, telling)
    running.check_formats(outcome)
    return Run(outcome.folder)
