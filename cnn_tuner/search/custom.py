"""A person's own networks in a search: their hypermodel found, tried once, and its space explored, before anything."""

from __future__ import annotations

import importlib
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn_tuner.data.dataset import Dataset, Part
from cnn_tuner.data.files import one_line, shown
from cnn_tuner.errors import UsageError
from cnn_tuner.export.checks.operations import ALLOWED
from cnn_tuner.metrics.tasks import TASKS, Output
from cnn_tuner.runs.config import HypermodelConfig, RunConfig

if TYPE_CHECKING:
    from cnn_tuner.models.custom import CustomModels

TRIED = 16  # images on which a network is evaluated once
OTHER = "start a new run"


@dataclass(frozen=True)
class Prepared:
    """What is known of a hypermodel before a search: its space, its metrics as they are called here, and its data."""

    config: HypermodelConfig
    metrics: tuple[str, ...]
    dataset: Dataset


def find(hypermodel: Any) -> Any:
    """A hypermodel that was given, or the one that MODULE:NAME names, which is looked for in the current folder too.

    Raises:
        UsageError: there is none, or it is none.
    """
    found = _named(hypermodel) if isinstance(hypermodel, str) else hypermodel
    if isinstance(found, type):
        try:
            found = found()
        except TypeError as error:
            raise UsageError(f"hypermodel {found.__name__}: cannot be made without arguments: hand over one") from error
    if not callable(found) and not hasattr(found, "build"):
        raise UsageError(f"hypermodel: must be a function build(hp) or a keras_tuner.HyperModel, got {found!r}")
    return found


def _named(place: str) -> Any:
    module_name, _, name = place.partition(":")
    if not module_name or not name:
        raise UsageError(f"--hypermodel {shown(place)}: must be written MODULE:NAME")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the module is a person's own, and may raise anything
        told = f"{type(error).__name__}: {one_line(error)}"
        raise UsageError(f"--hypermodel {shown(place)}: {module_name} cannot be imported ({told})") from error
    if not hasattr(module, name):
        raise UsageError(f"--hypermodel {shown(place)}: {module_name} has no {shown(name)}")
    return getattr(module, name)


def prepare(hypermodel: Any, place: str, dataset: Dataset, output: Output) -> Prepared:
    """Builds and tries its networks.

    Args:
        hypermodel: as `find` returned it.
        place: MODULE:NAME, empty where it was given.
        dataset: what is to be learned; two classes are made two units where its networks have two.
        output: of the data.

    Raises:
        UsageError: it fails on this data, or does not fit it.
    """
    from cnn_tuner.models import custom, exploring
    from cnn_tuner.training.custom import spread

    def models(output: Output) -> CustomModels:
        return custom.CustomModels(hypermodel, dataset.image_shape, output, dataset.has_unit_pixels)

    try:
        units = models(output).units()
        if dataset.task == "binary" and units == len(dataset.class_names):
            dataset, output = _of_two_units(dataset), Output("multiclass", units)
        own, few = models(output), dataset.train.at(spread(dataset.train.y, TRIED, dataset.task))
        metrics = own.try_out(np.asarray(few.x), few.y)
        _check_export(own)
        part = cache(lambda: own.shown(np.asarray(few.x), few.y))
        explored = exploring.explore(own, part)
    except ValueError as error:
        raise UsageError(f"hypermodel {error}") from error
    config = HypermodelConfig(
        name=own.name,
        place=place,
        parameters=tuple(asdict(parameter) for parameter in explored.parameters),
        start=explored.start,
        largest_params=explored.largest_params,
        has_unit_pixels=dataset.has_unit_pixels,
    )
    return Prepared(config, metrics, dataset)


def _check_export(own: CustomModels) -> None:
    """Whether what it builds by default can be saved, and read again without its code.

    Raises:
        ValueError: it cannot.
    """
    from cnn_tuner.export.formats import keras_file
    from cnn_tuner.models.custom import graph_of, operations_of

    model = own.served(own.build({}, seed=0))
    own.check_operations(operations_of(graph_of(model)) - ALLOWED)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        try:
            keras_file.save(model, file)
            keras_file.load(file, is_chain=False)
        except OSError:
            raise
        except Exception as error:  # a person's own functions, and Keras of them, may raise anything
            told = one_line(error).removeprefix(f"{file}: ").removeprefix("refused, nothing of it was loaded: ")
            raise ValueError(f"{own.name}: its model cannot be exported: {told}") from error


def _of_two_units(dataset: Dataset) -> Dataset:
    def part(one: Part) -> Part:
        return replace(one, y=one.y.reshape(-1).astype(np.int32))

    train, val, test = map(part, (dataset.train, dataset.val, dataset.test))
    return replace(dataset, task="multiclass", train=train, val=val, test=test)


def objective_of(task: str, asked: str | None, metrics: tuple[str, ...], name: str) -> str:
    """What a search of these networks improves: what was asked for, or of its metrics the one that is usual.

    Raises:
        UsageError: its networks do not measure that.
    """
    from cnn_tuner.models.custom import METRIC_NAMES

    measured = {f"val_{metric}" for metric in metrics}
    if asked is None:
        usual = [TASKS[task].default_objective, *TASKS[task].objectives]
        return next(objective for objective in usual if objective in measured)
    chosen = METRIC_NAMES.get(asked, asked)
    if chosen in TASKS[task].objectives and chosen not in measured:
        known = ", ".join(sorted(measured))
        raise UsageError(f"--objective {asked}: hypermodel {name} compiles no such metric; it measures {known}")
    return chosen


def again(config: RunConfig, hypermodel: Any) -> CustomModels:
    """The networks of a run that is gone on with, by its hypermodel, which may be handed over once more.

    Raises:
        UsageError: it was given in Python, and was not handed over; or it asks for other hyperparameters now.
    """
    from cnn_tuner.models import custom

    known = config.hypermodel
    assert known is not None
    if hypermodel is None and not known.place:
        told = "its hypermodel was given in Python; hand it over again"
        raise UsageError(f"{told}: cnn_tuner.load(...).resume(hypermodel={known.name})")
    found = find(known.place if hypermodel is None else hypermodel)
    models = custom.CustomModels(found, config.data.image_shape, config.output, known.has_unit_pixels)
    try:
        asks = models.asked_for(dict(known.start), lambda: models.shown(*_blank(config)))
    except ValueError as error:
        raise UsageError(f"hypermodel {error}") from error
    before = {each["name"] for each in known.parameters}
    if others := sorted(set(known.start) - asks) or sorted(asks - before):
        raise UsageError(f"hypermodel {models.name}: asks for other hyperparameters now: {others[0]}; {OTHER}")
    return models


def _blank(config: RunConfig) -> tuple[np.ndarray, np.ndarray]:
    """Some images and labels, one of each class, for a `fit` that is asked what it asks for."""
    units = config.output.units
    rows = np.eye(max(2, units))[:, :units]
    y = {"binary": np.array([[0], [1]]), "multiclass": np.arange(units)}.get(config.data.task, rows)
    images = np.random.default_rng(0).integers(0, 256, (len(y), *config.data.image_shape), np.uint8)
    return images, y
