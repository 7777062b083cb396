"""One process at work on a run, from its start or from where it was left: search, final training, crowning, export."""

from __future__ import annotations

import os
import sys
import time
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn_tuner.data.dataset import Dataset
from cnn_tuner.data.shared import shared
from cnn_tuner.errors import FormatError, StorageError, storage_error
from cnn_tuner.executors import forking
from cnn_tuner.executors import registry as executors
from cnn_tuner.export.formats import registry as formats
from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.runs import machine
from cnn_tuner.runs.checkpoints import bound_bytes
from cnn_tuner.runs.machine import Workers, versions
from cnn_tuner.runs.records import Job, Trial, Winner
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.observer import Observer
from cnn_tuner.spaces.architecture import largest_params

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

    from cnn_tuner.executors.base import Executor
    from cnn_tuner.logs.trials import RunLogs
    from cnn_tuner.search.candidate import Candidate
    from cnn_tuner.search.forecast import Forecast
    from cnn_tuner.search.loop import Search
    from cnn_tuner.search.winner import Export
    from cnn_tuner.training.custom import CustomNetworks

MEASURED = ".measured.json"  # beside the runs: how fast this machine trains
TRAINER = "cnn_tuner.training.fit:open_trainer"


@dataclass(frozen=True)
class Outcome:
    """What a run found: its trials, its winner and where the verified export lies."""

    folder: Path
    trials: list[Trial]
    objective: Objective
    winner: Winner
    values: dict[str, Any]
    export: Path
    differences: dict[str, float]
    seconds: float
    is_interrupted: bool
    cost: str | None = None
    unmet: str = ""  # why the export has not all formats that were asked for

    @property
    def report(self) -> Path:
        """The page that tells the run."""
        return self.folder / "report.html"

    def to_dict(self) -> dict[str, Any]:
        """The outcome for machines, as `--json` prints it and result.json holds it."""
        winner = self.winner
        reached = {"name": self.objective.name, "search": winner.search_score, "final": winner.score}
        return {
            "run": self.folder.name,
            "trials": len(self.trials),
            "best": {
                "trial": winner.trial,
                "values": self.values,
                "objective": reached | {"float32": winner.float32_score},
                "params": winner.params,
                "macs": winner.macs,
            },
            "baselines": [asdict(each) for each in winner.baselines],
            "retrained": list(winner.finalist.scores) if winner.finalist else [],
            "refit": winner.refit,
            "test": winner.test,
            "test_intervals": winner.test_intervals,
            "test_accuracy": winner.test.get("accuracy"),
            "export": str(self.export),
            "formats_unmet": self.unmet,
            "report": str(self.report),
            "interrupted": self.is_interrupted,
            "seconds": round(self.seconds, 1),
        }


class Session:
    """This process at work on a run. Everything that can be refused is refused before the first training."""

    def __init__(self, observer: Observer, workers: Workers, command: str = "") -> None:
        self.observer, self.workers, self.command = observer, workers, command
        self.is_stopping = False
        self.began = time.monotonic()
        self.has_begun = False  # whether there is a run whose best could be exported
        self.trainer = TRAINER
        self.hypermodel: Any = None  # of a person's own networks, where it was handed over
        self._networks: CustomNetworks | None = None  # what builds those
        self._search: Search | None = None
        self._executor: Executor | None = None
        self._has_gpus = False
        self._widen: Callable[[], Executor] | None = None  # the cores of all workers for one

    @property
    def has_own_networks(self) -> bool:
        """Whether the networks are a person's own."""
        return self.hypermodel is not None

    def workers_loading(self) -> AbstractContextManager[None]:
        """Has workers load from now on what they train with, long before it is known what that will be."""
        return forking.serving(self.workers, self.trainer, self.has_own_networks)

    def request_stop(self) -> None:
        """Ends soon, with the best so far exported. Safe to call from a signal handler."""
        self.is_stopping = True
        if self._search is not None:
            self._search.request_stop()
        if self._executor is not None:  # another one than the search's, once the final training has all cores
            self._executor.stop()

    def go_on(self, run: RunStore, dataset: Dataset) -> Outcome:
        """Searches on, trains the winner to the end, evaluates it, exports it and has the export verified.

        Raises:
            UsageError: a format of the run lacks a package here.
            StorageError: the disk is full, or cannot be written; the run can be gone on with.
            SearchError: no trial completed.
            VerificationError: the export does not predict what was measured.
        """
        formats.check(run.config.formats)
        executors.check_installed(self.workers.executor)
        self._find_networks(run)
        try:
            with run.at_work(self.command, versions(), self.began):
                self.has_begun = True
                self._prepare(run)
                self.observer.run_opened(run, dataset)
                is_interrupted = False
                if not (run.is_crowned and run.keeps_winner):
                    is_interrupted = self._train(run, dataset)
                outcome = self._outcome(run, *self._export_at_least(run, dataset), is_interrupted)
                try:
                    self._show(run)
                finally:  # a report can be had again
                    if not is_interrupted:
                        run.finish(outcome.to_dict())
                return outcome
        except OSError as error:
            known = storage_error(error, run.folder)
            if known is None:
                raise
            kept = f"finished trials are kept, cnn-tuner resume {run.folder.name} goes on"
            raise StorageError(f"{known}; {kept}") from error

    def _prepare(self, run: RunStore) -> None:
        """What is to be done first, now that no other process can be at work on the run."""

    def export(
        self, run: RunStore, dataset: Dataset, trial: int | None = None, asked: Sequence[str] | None = None
    ) -> Export:
        """Exports the winner of a run as the next version; without one, the finalists are trained to the end first.

        With `trial`, that one is trained to the end and is the winner from now on. The formats are `asked`, or
        those of the run.

        Raises:
            UsageError: one of them lacks a package here; nothing was trained.
        """
        asked = run.config.formats if asked is None else asked
        formats.check(asked)
        winner = run.winner()
        if winner is None or not run.keeps_winner or (trial is not None and winner.trial != trial):
            self._find_networks(run)
            with run.at_work(self.command, versions(), self.began):
                self._train(run, dataset, is_searching=False, trial=trial)
        exported = self._export(run, dataset, asked)
        self._show(run)
        return exported

    def _train(self, run: RunStore, dataset: Dataset, is_searching: bool = True, trial: int | None = None) -> bool:
        """Searches and crowns a winner, or crowns `trial`; whether that was cut short by request."""
        forecast = self._forecast(run, has_budget=is_searching)
        self._measure_baselines(run, dataset)
        try:
            with self._executing(run, dataset, forecast) as executor:
                if is_searching and not run.has_search_ended:
                    self._searched(run, executor, forecast)
                candidate = self._trained_on(run, dataset, executor, forecast, trial)
                is_interrupted = self.is_stopping
        finally:
            self._search = self._executor = None
        if is_interrupted and trial is None and self._is_worse(run, candidate):
            return is_interrupted
        from cnn_tuner.search import winner

        winner.crown(run, dataset, candidate, self.observer, self._networks)
        if not is_interrupted:
            winner.drop_other_states(run, candidate)
        if run.has_search_ended and not is_interrupted:
            run.set_crowned()
        return is_interrupted

    def _find_networks(self, run: RunStore) -> None:
        """Those of a person's own, by the hypermodel that was handed over, or is found where the run says.

        Raises:
            UsageError: there is none, or it is another.
        """
        if run.config.hypermodel is not None:
            from cnn_tuner.search import custom
            from cnn_tuner.training.custom import CustomNetworks

            self._networks = CustomNetworks(custom.again(run.config, self.hypermodel))

    def _packed_networks(self) -> bytes:
        """Those for the workers, whose code may be a script's; nothing for the seven steps."""
        if self._networks is None:
            return b""
        from cnn_tuner.training import custom

        return custom.packed(self._networks.models)

    def _is_worse(self, run: RunStore, candidate: Candidate) -> bool:
        """Whether what an interrupted session has is no better than the winner that an earlier one left."""
        earlier, score = run.winner(), candidate.result.score
        if earlier is None or not run.keeps_winner or score is None:
            return False
        return not run.config.objective.is_better(score, earlier.score)

    def _measure_baselines(self, run: RunStore, dataset: Dataset) -> None:
        """What simple models reach, once a run and before its workers train."""
        if run.baselines() is None and not self.is_stopping:
            from cnn_tuner.baselines import registry

            self.observer.phase("fitting simple models, to compare with")
            run.set_baselines(registry.measure(dataset, run.config.search.seed))

    @contextmanager
    def _logging(self, run: RunStore) -> Iterator[RunLogs]:
        from cnn_tuner.logs.rebuilding import logs_of

        logs = logs_of(run, run.tensorboard)
        logs.begin(time.time())
        try:
            yield logs
        finally:
            logs.close()

    @contextmanager
    def _executing(self, run: RunStore, dataset: Dataset, forecast: Forecast) -> Iterator[Executor]:
        from cnn_tuner.executors.base import settings_of

        folder, is_for_others = self._shared_folder(run)
        with shared(dataset, folder, is_for_others):
            workers = self._choose(run, dataset, folder)
            packed = self._packed_networks()
            forecast.workers_began = time.monotonic()
            forecast.crowding = machine.crowding(workers, is_driver_loading="tensorflow" not in sys.modules)
            forecast.server = forking.current()

            def started(workers: Workers) -> Executor:
                if self._executor is not None:
                    self._executor.close()
                self._executor = executors.create(workers.executor, settings_of(workers, self.trainer, folder, packed))
                return self._executor

            is_fixed = workers.gpus or workers.cluster is not None
            self._widen = None if is_fixed else lambda: started(machine.wide(workers))
            self._has_gpus = bool(workers.gpus) or (workers.cluster is not None and workers.cluster.gpus_per_trial > 0)
            forecast.widens = self._widen is not None
            try:
                executor = started(workers)
                # What loads TensorFlow here comes after: nothing can be refused any more, and the workers load theirs.
                self.observer.workers_chosen(workers, self._checkpoint_bytes(run, workers))
                yield executor
            finally:
                for each in (self._executor, forecast.server):
                    if each is not None:
                        each.close()

    def _shared_folder(self, run: RunStore) -> tuple[Path, bool]:
        """Where workers find the images: in the run's folder, or where all nodes of a cluster see them; which it is."""
        place = None if self.workers.cluster is None else self.workers.cluster.shared_dir
        if place is None:
            return run.shared_data, False
        return Path(place) / f"cnn_tuner-{run.folder.name}-{os.getpid()}", True

    def _choose(self, run: RunStore, dataset: Dataset, folder: Path) -> Workers:
        """With what this session trains; the run remembers its precision, the runs' folder what was measured."""
        from cnn_tuner.search import measuring

        config = run.config
        space, search = config.search_space(), config.search
        subject = measuring.Subject(space, config.data.image_shape, config.output, str(folder))
        length = measuring.Length(search.max_trials, search.budget_seconds, search.epochs, len(dataset.train))
        memory = run.folder.parent / MEASURED
        workers = measuring.choose(self.workers, run.precision, subject, length, memory)
        run.note_workers(f"{workers}; {workers.reason}")
        if run.precision is None:
            run.set_precision(workers.precision or "float32")
        return workers

    def _checkpoint_bytes(self, run: RunStore, workers: Workers) -> int:
        from cnn_tuner.search.suggesting import make_oracle

        config = run.config
        if config.hypermodel is not None:
            largest = config.hypermodel.largest_params
        else:
            largest = largest_params(config.search_space(), config.data.image_shape, config.output)
        continuable = make_oracle(run.config).most_continuable()
        search = config.search
        found = bound_bytes(largest, search.keep, continuable, workers.count or 1, search.finalists + search.refits + 1)
        return found * max(1, config.data.folds)

    def _forecast(self, run: RunStore, has_budget: bool) -> Forecast:
        """What the rest of the run may take; what earlier sessions took counts. An export takes what it takes."""
        from cnn_tuner.runs.budget import Budget
        from cnn_tuner.search.forecast import Forecast

        seconds = run.config.search.budget_seconds if has_budget else None
        return Forecast(run.config, Budget(seconds, run.active_seconds(), self.began))

    def _searched(self, run: RunStore, executor: Executor, forecast: Forecast) -> None:
        from cnn_tuner.search.affordable import Affordable
        from cnn_tuner.search.loop import Search
        from cnn_tuner.search.suggesting import make_oracle

        is_known = run.config.hypermodel is None  # how large networks are before they are built
        affordable = Affordable(run.config, executor.slots, has_gpu=self._has_gpus) if is_known else None
        with self._logging(run) as logs:
            oracle = make_oracle(run.config, affordable)
            self._search = Search(run, oracle, executor, logs, self.observer, forecast, affordable=affordable)
            if self.is_stopping:
                self._search.request_stop()
            self._search.run()

    def _trained_on(
        self, run: RunStore, dataset: Dataset, executor: Executor, forecast: Forecast, trial: int | None
    ) -> Candidate:
        from cnn_tuner.search.final_training import FinalTraining

        def outcomes(job: Job) -> np.ndarray | None:
            from cnn_tuner.training import fit  # TensorFlow, which only a comparison of finalists needs here

            return fit.outcomes(job, dataset.val, self._networks)

        final = FinalTraining(
            run, executor, self.observer, forecast, lambda: self.is_stopping, self._widen, outcomes=outcomes
        )
        return final.run(trial)

    def _export_at_least(self, run: RunStore, dataset: Dataset) -> tuple[Export, str]:
        """The export in all formats of the run but those that fail, and why those did."""
        asked, unmet = list(run.config.formats), list[str]()
        while True:
            try:
                return self._export(run, dataset, asked), "; ".join(unmet)
            except FormatError as error:
                if error.format == formats.SAVED_MODEL or error.format not in asked:
                    raise
                asked.remove(error.format)
                unmet.append(str(error))

    def _export(self, run: RunStore, dataset: Dataset, asked: Sequence[str]) -> Export:
        from cnn_tuner.search import winner

        return winner.export(run, dataset, self.observer, asked)

    def _show(self, run: RunStore) -> None:
        """Writes what people look at: the best model in TensorBoard, and the report."""
        from cnn_tuner.logs import rebuilding
        from cnn_tuner.report import page

        self.observer.phase("writing the report")
        rebuilding.write_best(run, rebuilding.logs_of(run, run.tensorboard))
        page.write(run)

    def _outcome(self, run: RunStore, exported: Export, unmet: str, is_interrupted: bool) -> Outcome:
        trials, winner = run.trials(), run.winner()
        assert winner is not None
        return Outcome(
            run.folder,
            trials,
            run.config.objective,
            winner,
            next(trial.values for trial in trials if trial.number == winner.trial),
            exported.path,
            exported.differences,
            time.monotonic() - self.began,
            is_interrupted,
            run.config.search.cost,
            unmet,
        )
