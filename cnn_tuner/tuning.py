"""From a request to a verified export: data, search, final training, evaluation, export, in one run folder."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn_tuner import scores, space, store
from cnn_tuner.architecture import check_feasible
from cnn_tuner.data import registry as data_registry
from cnn_tuner.data.dataset import Dataset
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.pictures import read_image
from cnn_tuner.errors import DataError, StorageError, UsageError, storage_error
from cnn_tuner.observer import Observer
from cnn_tuner.oracles import registry as oracle_registry
from cnn_tuner.records import Trial, Winner
from cnn_tuner.space import SearchSpace
from cnn_tuner.store import DataConfig, RunConfig, RunStore, SearchConfig
from cnn_tuner.tasks import Objective, Output, choose_objective

if TYPE_CHECKING:
    from cnn_tuner.search import Search
    from cnn_tuner.winner import Export

PACKAGES = ("cnn-tuner", "tensorflow", "keras", "keras-tuner", "numpy")
FINAL_FACTOR = 3  # how many times the epochs of a trial the winner may train, when nothing else is said


@dataclass(frozen=True)
class Request:
    """What a person asks of a search. None leaves a choice to the space, the task or the data."""

    data: str = "digits"
    space: str = "quick"
    data_options: DataOptions = field(default_factory=DataOptions)
    oracle: str | None = None
    objective: str | None = None
    max_trials: int | None = None
    epochs: int | None = None
    final_epochs: int | None = None
    seed: int = 0
    runs: Path = Path("runs")
    name: str | None = None
    command: str = ""


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
                "objective": reached,
                "params": winner.params,
                "macs": winner.macs,
            },
            "test": winner.test,
            "test_accuracy": winner.test.get("accuracy"),
            "export": str(self.export),
            "interrupted": self.is_interrupted,
            "seconds": round(self.seconds, 1),
        }


def versions() -> dict[str, str]:
    """The versions that decide what a run does."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def _output(dataset: Dataset) -> Output:
    if dataset.task != "regression":
        return Output(dataset.task, dataset.outputs)
    mean, deviation = dataset.train.y.mean(axis=0), dataset.train.y.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    return Output(dataset.task, dataset.outputs, tuple(map(float, scale)), tuple(map(float, mean)))


def _data_config(dataset: Dataset, options: DataOptions) -> DataConfig:
    output = _output(dataset)
    return DataConfig(
        source=dataset.source,
        name=dataset.name,
        task=dataset.task,
        class_names=dataset.class_names,
        image_shape=dataset.image_shape,
        output_scale=output.scale,
        output_offset=output.offset,
        fingerprint=dataset.fingerprint,
        options=asdict(options),
    )


def _at_least_one(flag: str, given: int | None, default: int) -> int:
    value = default if given is None else given
    if value < 1:
        raise UsageError(f"{flag}: must be a whole number >= 1, got {value}")
    return value


class Tuning:
    """One run from its request to its export. Everything that can be refused is refused before the first training."""

    def __init__(self, request: Request, observer: Observer) -> None:
        self.request, self.observer = request, observer
        self.is_stopping = False
        self.has_begun = False  # whether there is a run whose best could be exported
        self._search: Search | None = None

    def request_stop(self) -> None:
        """Ends soon, with the best so far exported. Safe to call from a signal handler."""
        self.is_stopping = True
        if self._search is not None:
            self._search.request_stop()

    def run(self) -> Outcome:
        """Searches, trains the winner to the end, evaluates it, exports it and has the export verified.

        Raises:
            UsageError, DataError, SpaceError, StorageError: the request cannot be met; nothing was trained.
            SearchError: no trial completed.
            VerificationError: the export does not predict what was measured.
        """
        started = time.monotonic()
        chosen = self._check_request()
        options = self.request.data_options
        dataset = data_registry.load(self.request.data, options)
        run = self._create(chosen, dataset, options)
        self.has_begun = True
        self.observer.run_created(run, dataset)
        try:
            winner, exported, is_interrupted = self._train(run, dataset)
            outcome = self._outcome(run, winner, exported, time.monotonic() - started, is_interrupted)
            run.finish(outcome.to_dict())
            return outcome
        except OSError as error:
            known = storage_error(error, run.folder)
            if known is None:
                raise
            kept = f"finished trials are kept, cnn-tuner export {run.folder.name} exports the best"
            raise StorageError(f"{known}; {kept}") from error
        finally:
            if not run.trials():
                run.discard()
            run.close()

    def _check_request(self) -> SearchSpace:
        """What can be checked before any image is read."""
        chosen = space.load(self.request.space)
        oracle_registry.check_name(chosen.defaults.oracle, f"{self.request.space}: search.oracle")
        if self.request.oracle is not None:
            oracle_registry.check_name(self.request.oracle)
        store.check_writable(self.request.runs)
        if self.request.name is not None:
            store.check_name(self.request.runs, self.request.name)
        self._search_numbers(chosen)
        return chosen

    def _search_numbers(self, chosen: SearchSpace) -> tuple[int, int, int]:
        """The number of trials, of epochs for one trial, and of epochs for the winner."""
        request = self.request
        max_trials = _at_least_one("--max-trials", request.max_trials, chosen.defaults.max_trials)
        epochs = _at_least_one("--epochs", request.epochs, chosen.defaults.epochs)
        final_epochs = _at_least_one("--final-epochs", request.final_epochs, FINAL_FACTOR * epochs)
        return max_trials, epochs, final_epochs

    def _create(self, chosen: SearchSpace, dataset: Dataset, options: DataOptions) -> RunStore:
        """The run's folder, once the data is known to suit the request."""
        request = self.request
        objective = choose_objective(dataset.task, request.objective)
        check_feasible(chosen, dataset.image_shape, _output(dataset))
        max_trials, epochs, final_epochs = self._search_numbers(chosen)
        config = RunConfig(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            command=request.command,
            versions=versions(),
            data=_data_config(dataset, options),
            space_name=chosen.name,
            space=chosen.to_dict(),
            search=SearchConfig(
                oracle=chosen.defaults.oracle if request.oracle is None else request.oracle,
                objective=objective.name,
                direction=objective.direction,
                max_trials=max_trials,
                epochs=epochs,
                final_epochs=final_epochs,
                seed=request.seed,
            ),
        )
        stem = f"{dataset.name}-{chosen.name}"
        name = store.next_name(request.runs, stem) if request.name is None else request.name
        return RunStore.create(request.runs, name, config)

    def _train(self, run: RunStore, dataset: Dataset) -> tuple[Winner, Export, bool]:
        """The winner, its export, and whether training was cut short by request."""
        # TensorFlow is loaded only once nothing can be refused any more.
        from cnn_tuner import winner
        from cnn_tuner.executors.inline import InlineExecutor
        from cnn_tuner.search import Search, make_oracle
        from cnn_tuner.tensorboard import RunLogs

        logs = RunLogs(run.tensorboard, run.config.search_space(), run.config.objective)
        logs.begin(time.time())
        executor = InlineExecutor(dataset.train, dataset.val)
        try:
            self._search = Search(run, make_oracle(run), executor, logs, self.observer)
            if self.is_stopping:
                self._search.request_stop()
            self._search.run()
            result = winner.train_to_the_end(run, executor, logs, self.observer, lambda: self.is_stopping)
            is_interrupted = self.is_stopping
        finally:
            executor.close()
            logs.close()
        crowned = winner.crown(run, dataset, result, self.observer)
        return crowned, winner.export(run, dataset, self.observer), is_interrupted

    def _outcome(
        self, run: RunStore, winner: Winner, exported: Export, seconds: float, is_interrupted: bool
    ) -> Outcome:
        trials = run.trials()
        values = next(trial.values for trial in trials if trial.number == winner.trial)
        return Outcome(
            run.folder,
            trials,
            run.config.objective,
            winner,
            values,
            exported.path,
            exported.differences,
            seconds,
            is_interrupted,
        )


def load_data(run: RunStore) -> Dataset:
    """The data of a run, read again, as it was when the run began.

    Raises:
        DataError: it cannot be read, or has changed since.
    """
    config = run.config.data
    options = dict(config.options)
    size = options.pop("image_size")
    dataset = data_registry.load(config.source, DataOptions(image_size=tuple(size) if size else None, **options))
    if dataset.fingerprint != config.fingerprint:
        raise DataError(f"{config.source}: the images or labels are not those that {run.folder.name} was trained on")
    return dataset


def export_run(run: RunStore, observer: Observer) -> Export:
    """Exports a run's winner as the next version; a run that was cut short has its winner trained to the end first.

    Raises:
        SearchError: no trial of the run completed.
        DataError: the data cannot be read again, or has changed.
        VerificationError: the export does not predict what was measured.
    """
    from cnn_tuner import winner
    from cnn_tuner.executors.inline import InlineExecutor
    from cnn_tuner.tensorboard import RunLogs

    dataset = load_data(run)
    if run.winner() is None:
        logs = RunLogs(run.tensorboard, run.config.search_space(), run.config.objective)
        executor = InlineExecutor(dataset.train, dataset.val)
        try:
            result = winner.train_to_the_end(run, executor, logs, observer, lambda: False)
        finally:
            executor.close()
            logs.close()
        winner.crown(run, dataset, result, observer)
    return winner.export(run, dataset, observer)


def evaluate_run(run: RunStore) -> dict[str, Any]:
    """What a run's newest export says of the run's test part: metrics, and each class by itself.

    Raises:
        UsageError: the run has no export.
        DataError: the data cannot be read again, or has changed.
    """
    from cnn_tuner.export.served import Served

    folder = run.latest_export()
    dataset = load_data(run)
    found = Served(folder).scores(dataset.test.x)
    return {
        "run": run.folder.name,
        "export": str(folder),
        "images": len(dataset.test),
        "test": scores.measure(dataset.task, dataset.test.y, found),
        "classes": scores.by_class(dataset.task, dataset.test.y, found, dataset.class_names),
    }


def predict_files(export: Path, files: Sequence[Path]) -> list[dict[str, Any]]:
    """What an export says of image files, a record each, in their order.

    Raises:
        UsageError: the folder holds no export.
        DataError: a file is missing or not an image.
    """
    from cnn_tuner.export.served import Served

    served = Served(export)
    images = np.stack([read_image(file, served.image_shape) for file in files])
    return [{"image": str(file), **answer} for file, answer in zip(files, served.predict(images), strict=True)]
