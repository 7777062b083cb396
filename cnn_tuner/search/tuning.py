"""What is asked of a new run, and what can be had from a finished one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn_tuner.data import registry as data_registry
from cnn_tuner.data import split_file
from cnn_tuner.data.dataset import Dataset
from cnn_tuner.data.leaks import has_copies
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import UsageError
from cnn_tuner.executors import registry as executors
from cnn_tuner.metrics.tasks import Output, choose_objective
from cnn_tuner.oracles import registry as oracle_registry
from cnn_tuner.runs import folders, images
from cnn_tuner.runs.budget import parse_seconds
from cnn_tuner.runs.config import DataConfig, RunConfig, SearchConfig, kept
from cnn_tuner.runs.machine import Workers, versions
from cnn_tuner.runs.pareto import check_cost
from cnn_tuner.runs.records import Prefer
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search import custom, fitting
from cnn_tuner.search.observer import Observer
from cnn_tuner.search.session import Outcome, Session
from cnn_tuner.spaces import auto, tree
from cnn_tuner.spaces.architecture import check_feasible
from cnn_tuner.spaces.rules import Limits
from cnn_tuner.spaces.tree import SearchSpace

if TYPE_CHECKING:
    from cnn_tuner.data.cache import Cache
    from cnn_tuner.search.winner import Export

FINAL_SEEDS = 3  # of a finalist, when nothing else is said; or one for each fold
FINAL_FACTOR = 3  # how many times the epochs of a trial a finalist may train, when nothing else is said
FINAL_STEPS, LEAST_STEPS, STEP_IMAGES = 2500, 150, 32  # and at least so many batches of so many images; a trial, too
EPOCH_IMAGES = 12_000  # of an epoch of the search, where there are many more: enough to tell points apart
BUDGET_SECONDS = 600.0  # of a search of a space that says nothing of its length


@dataclass(frozen=True)
class Request:
    """What a person asks of a search. None leaves a choice to the space, the task or the data.

    `hypermodel`: a function `build(hp)`, a `keras_tuner.HyperModel`, or MODULE:NAME of one, in the place of a space.
    `given` is data in memory, whose `data` is called `calling.GIVEN`.
    """

    data: str = "digits"
    space: str | None = None
    data_options: DataOptions = field(default_factory=DataOptions)
    oracle: str | None = None
    sampler: str | None = None
    objective: str | None = None
    cost: str | None = None
    max_latency_seconds: float | None = None
    budget_seconds: float | None = None
    max_trials: int | None = None
    epochs: int | None = None
    final_epochs: int | None = None
    finalists: int = 3
    final_seeds: int | None = None
    refits: bool = True
    prefer: Prefer = "accurate"
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    runs: Path = Path("runs")
    name: str | None = None
    command: str = ""
    workers: Workers = field(default_factory=Workers)
    keep: int = 3
    formats: tuple[str, ...] = ("tf_saved_model",)
    cache: Cache | None = None
    given: Any = None
    hypermodel: Any = None

    @property
    def place(self) -> str:
        """The space that is meant: one made for the images, where they are a person's own."""
        if self.space is not None:
            return self.space
        return "quick" if self.data == "digits" else tree.AUTO


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
        place=data_registry.lasting(dataset.source),
        name=dataset.name,
        task=dataset.task,
        class_names=dataset.class_names,
        image_shape=dataset.image_shape,
        output_scale=output.scale,
        output_offset=output.offset,
        images=(len(dataset.train), len(dataset.val), len(dataset.test)),
        drawn=dataset.drawn,
        has_groups=dataset.train.groups is not None or has_copies(dataset.train, dataset.val),
        folds=0 if dataset.folds is None else int(dataset.folds.max()),
        fingerprint=dataset.fingerprint,
        options={name: list(v) if isinstance(v, tuple) else v for name, v in asdict(options).items()},
    )


def lasting(place: str) -> str:
    """Where a space can be found again, from whatever folder: a shipped space's name, or the full path of its file."""
    return place if place in (tree.AUTO, *tree.shipped_names()) else str(Path(place).expanduser().resolve())


def is_there(place: str) -> bool:
    """Whether the space at a lasting place still is."""
    return place in tree.shipped_names() or (place != tree.AUTO and Path(place).is_file())


def _check_oracle(oracle: str, sampler: str | None, where: str = "--") -> None:
    oracle_registry.check_name(oracle, f"{where}oracle")
    oracle_registry.check_sampler(oracle, sampler, f"{where}sampler")


def _at_least_one(flag: str, given: int | None, default: int) -> int:
    value = default if given is None else given
    if value < 1:
        raise UsageError(f"{flag}: must be a whole number >= 1, got {value}")
    return value


def _epoch_images(images: int) -> int | None:
    """Of an epoch of the search, None for all."""
    return EPOCH_IMAGES if images > 2 * EPOCH_IMAGES else None


class Tuning(Session):
    """One run from its request to its export."""

    def __init__(self, request: Request, observer: Observer) -> None:
        super().__init__(observer, request.workers, request.command)
        self.request, self.hypermodel = request, request.hypermodel
        self._space_text = ""
        self._own: custom.Prepared | None = None  # a hypermodel, once it was tried

    def run(self) -> Outcome:
        """Searches, trains the winner to the end, evaluates it, exports it and has the export verified.

        Raises:
            UsageError, DataError, SpaceError, StorageError: the request cannot be met; nothing was trained.
            SearchError: no trial completed.
            VerificationError: the export does not predict what was measured.
        """
        folders.check_writable(self.request.runs)
        config, dataset = self.prepare()
        run = self._create(config)
        try:
            split_file.write(dataset, run.folder / split_file.FILE)
            return self.go_on(run, dataset)
        finally:
            if not run.trials():
                run.discard()
            run.close()

    def prepare(self) -> tuple[RunConfig, Dataset]:
        """What the run is asked for, and its data; nothing is written.

        Raises:
            UsageError, DataError, SpaceError, StorageError: the request cannot be met.
        """
        chosen = self._check_request()
        dataset = self._load()
        if self.hypermodel is not None:
            self._own = custom.prepare(self.hypermodel, self._hypermodel_place, dataset, _output(dataset))
            dataset = self._own.dataset
            chosen = self._own.config.search_space()
        elif chosen.place == tree.AUTO:
            chosen = self._made_for(dataset)
        self._space_text = chosen.source
        return self._config(chosen, dataset), dataset

    def _load(self) -> Dataset:
        asked = self.request
        if asked.given is not None:
            return data_registry.load_given(asked.given, asked.data_options, asked.cache)
        return data_registry.load(asked.data, asked.data_options, asked.cache)

    def _made_for(self, dataset: Dataset) -> SearchSpace:
        """The space that fits the images and the objective."""
        request = self.request
        metric = choose_objective(dataset.task, request.objective).metric
        budget = self._lengths(auto.space(auto.UNKNOWN))["budget_seconds"]
        epoch_images = _epoch_images(len(dataset.train))
        return fitting.space_for(dataset, _output(dataset), metric, request.seed, request.limits, budget, epoch_images)

    @property
    def _hypermodel_place(self) -> str:
        asked = self.request.hypermodel
        return asked if isinstance(asked, str) else ""

    def _asked_space(self) -> SearchSpace:
        """The space that was named; of what is made for the images, or asked for by a hypermodel, its defaults."""
        request, place = self.request, self.request.place
        if request.hypermodel is None:
            return (auto.space(auto.UNKNOWN) if place == tree.AUTO else tree.load(place)).within(request.limits)
        if request.space is not None:
            raise UsageError("--space and --hypermodel: name one of them: a hypermodel has a space of its own")
        if request.limits != Limits():
            raise UsageError("--max-params, --max-macs, --max-activation-bytes: are for spaces of the seven steps")
        if "keras" in request.formats:
            raise UsageError("--format keras: is for networks of the seven steps; a run's best.keras is the model")
        self.hypermodel = custom.find(request.hypermodel)
        return tree.of_hypermodel("hypermodel", (), self._hypermodel_place)

    def _check_request(self) -> SearchSpace:
        """What can be checked before any image is read."""
        executors.check_installed(self.request.workers.executor)
        chosen = self._asked_space()
        place = chosen.place
        _check_oracle(chosen.defaults.oracle, chosen.defaults.sampler, f"{place}: search.")
        oracle, sampler = self._oracle(chosen)
        _check_oracle(oracle, sampler)
        if self.request.cost is not None:
            check_cost(self.request.cost)
            oracle_registry.check_cost(oracle, self.request.cost)
        if self.request.name is not None:
            folders.check_name(self.request.runs, self.request.name)
        self._search_numbers(chosen)
        self._epochs(chosen, images=1)
        return chosen

    def _oracle(self, chosen: SearchSpace) -> tuple[str, str | None]:
        """The oracle and its sampler: what was asked for, or what the space says."""
        asked, defaults = self.request, chosen.defaults
        if asked.oracle is None or asked.oracle == defaults.oracle:
            return defaults.oracle, defaults.sampler if asked.sampler is None else asked.sampler
        return asked.oracle, asked.sampler

    def _search_numbers(self, chosen: SearchSpace) -> dict[str, Any]:
        """How long to search, as values of `SearchConfig`."""
        request = self.request
        return self._lengths(chosen) | {
            "finalists": _at_least_one("--finalists", request.finalists, 1),
            "final_seeds": _at_least_one(
                "--final-seeds", request.final_seeds, request.data_options.folds or FINAL_SEEDS
            ),
            "keep": _at_least_one("--keep", request.keep, 1),
        }

    def _epochs(self, chosen: SearchSpace, images: int) -> dict[str, int | None]:
        """The epochs of trials and finalists, as values of `SearchConfig`: few images need many."""
        request, steps = self.request, math.ceil(images / STEP_IMAGES)
        least = math.ceil(LEAST_STEPS / steps)
        if chosen.place == tree.AUTO:  # of longer trials the first look is longer too
            least = max(least, chosen.defaults.epochs // auto.EPOCHS)
        epochs = max(chosen.defaults.epochs, least)
        epochs = _at_least_one("--max-epochs", request.epochs, epochs)
        final = FINAL_FACTOR * epochs
        if request.epochs is None:
            final = max(final, math.ceil(FINAL_STEPS / steps))
        return {
            "epochs": epochs,
            "least_epochs": min(epochs, least),
            "epoch_images": _epoch_images(images),
            "final_epochs": _at_least_one("--final-epochs", request.final_epochs, final),
        }

    def _lengths(self, chosen: SearchSpace) -> dict[str, Any]:
        """The budget and the number of trials: those that were asked for; of the space only where none was."""
        request, defaults = self.request, chosen.defaults
        if request.max_trials is not None or request.budget_seconds is not None:
            trials = None if request.max_trials is None else _at_least_one("--max-trials", request.max_trials, 1)
            return {"max_trials": trials, "budget_seconds": request.budget_seconds}
        text = defaults.budget
        seconds = None if text is None else parse_seconds(f"{chosen.place}: search.budget", text)
        if seconds is None and defaults.max_trials is None:
            seconds = BUDGET_SECONDS
        return {"max_trials": defaults.max_trials, "budget_seconds": seconds}

    def _config(self, chosen: SearchSpace, dataset: Dataset) -> RunConfig:
        """What the run is asked for, once the data is known to suit it."""
        request = self.request
        asked = request.objective
        if self._own is not None:
            asked = custom.objective_of(dataset.task, asked, self._own.metrics, self._own.config.name)
        objective = choose_objective(dataset.task, asked)
        check_feasible(chosen, dataset.image_shape, _output(dataset))
        oracle, sampler = self._oracle(chosen)
        return RunConfig(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            command=request.command,
            versions=versions(),
            data=_data_config(dataset, self._data_options(dataset)),
            space_name=chosen.name,
            space_place=lasting(chosen.place),
            space=kept(chosen) if self._own is None else {},
            search=SearchConfig(
                oracle=oracle,
                sampler=sampler,
                objective=objective.name,
                direction=objective.direction,
                cost=request.cost,
                max_latency_seconds=request.max_latency_seconds,
                limits=request.limits,
                seed=request.seed,
                precision=request.workers.precision or "auto",
                workers=request.workers.count,
                refits=request.refits,
                prefer=request.prefer,
                **self._search_numbers(chosen) | self._epochs(chosen, len(dataset.train)),
            ),
            formats=request.formats,
            hypermodel=None if self._own is None else self._own.config,
        )

    def _data_options(self, dataset: Dataset) -> DataOptions:
        """Those by which the data is read again as it is now: a hypermodel of two units makes two classes two."""
        asked = self.request.data_options
        return asked if self._own is None or asked.task is not None else replace(asked, task=dataset.task)

    def _name(self, config: RunConfig) -> str:
        stem = f"{config.data.name}-{config.space_name}"
        return folders.next_name(self.request.runs, stem) if self.request.name is None else self.request.name

    def _create(self, config: RunConfig) -> RunStore:
        run: RunStore | None = None
        while run is None:
            try:
                run = RunStore.create(self.request.runs, self._name(config), config)
            except folders.NameTakenError:  # by another process, a moment ago
                if self.request.name is not None:
                    raise
        if self._space_text:
            folders.write_aside(run.folder / "space.yaml", self._space_text)
        return run


def export_run(
    run: RunStore,
    session: Session,
    trial: int | None = None,
    formats: Sequence[str] | None = None,
    data: Any = None,
    cache: Cache | None = None,
) -> Export:
    """Exports a run's winner as the next version; a run that was cut short has its finalists trained to the end first.

    With `trial`, that one is trained to the end, evaluated, and the winner from now on. Without `formats`, those that
    the run was asked for. `data` says where its images lie now, if they have moved, or is them.

    Raises:
        UsageError: the run has no such trial.
        SearchError: no trial of the run completed.
        DataError: the data cannot be read again, or has changed.
        VerificationError: the export does not predict what was measured.
    """
    numbers = [each.number for each in run.trials()]
    if trial is not None and trial not in numbers:
        known = f"1 to {max(numbers)}" if numbers else "none yet"
        raise UsageError(f"--trial: {run.folder.name} has no such trial: {trial}; choices: {known}")
    return session.export(run, images.load_data(run, data, cache), trial, formats)


def evaluate_run(run: RunStore, data: Any = None, cache: Cache | None = None) -> dict[str, Any]:
    """What a run's newest export says of the run's test part: metrics, their 95 % intervals, each class by itself.

    `data` as for `export_run`.

    Raises:
        UsageError: the run has no export.
        DataError: the data cannot be read again, or has changed.
    """
    from cnn_tuner.predict import evaluating

    folder = run.latest_export()
    dataset = images.load_data(run, data, cache)
    return {"run": run.folder.name} | evaluating.evaluated(folder, {"test": dataset.test})
