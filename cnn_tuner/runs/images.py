"""The images and labels that a run began with, read again: the same, or one line that says what differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cnn_tuner.data import registry, split_file
from cnn_tuner.data.cache import Cache
from cnn_tuner.data.calling import GIVEN
from cnn_tuner.data.dataset import Dataset
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError
from cnn_tuner.runs.config import DataConfig
from cnn_tuner.runs.store import RunStore


def load_data(run: RunStore, source: Any = None, cache: Cache | None = None) -> Dataset:
    """The data of a run, read again as it was when the run began; with `source`, from where it lies now, or in memory.

    `cache`: of decoded images.

    Raises:
        DataError: it cannot be read, or is not what it was; the message says what differs.
    """
    config = run.config.data
    if source is None and config.source == GIVEN:
        again = f"hand them over again: cnn_tuner.load({str(run.folder)!r}).resume(data=...)"
        raise DataError(f"{run.folder}: its images were given in Python and are not kept; {again}")
    if source is not None and not isinstance(source, str):
        return _known(run, GIVEN, registry.load_given(source, _options(run), cache))
    place = source or config.place or config.source
    try:
        dataset = registry.load(place, _options(run), cache)
    except DataError as error:
        if source is not None or registry.is_there(place):
            raise
        raise DataError(f"{error}; if they have moved, --data says where they lie now") from error
    return _known(run, place, dataset)


def _known(run: RunStore, place: str, dataset: Dataset) -> Dataset:
    """The same, once it is known to be what the run began with."""
    config = run.config.data
    if not dataset.has_fingerprint(config.fingerprint):
        differs = f"not what {run.folder.name} was trained on: {_differs(config, dataset)}"
        raise DataError(f"{place}: {differs}; scores compare only on the same data: start a new run")
    return replace(dataset, name=config.name)  # a folder that was moved may be called otherwise now


def _options(run: RunStore) -> DataOptions:
    """Those of a run, in whose file a tuple is a list."""
    options = run.config.data.options
    given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in options.items()}
    if given.get("split") is not None:  # the run's own copy, wherever the file is now
        given["split"] = str(run.folder / split_file.FILE)
    return DataOptions(**({"allow_leakage": True} | given))  # of which runs before it was asked know nothing


def _differs(before: DataConfig, now: Dataset) -> str:
    """The first thing in which data differs from what a run began with."""
    counts = (len(now.train), len(now.val), len(now.test))
    facts: tuple[tuple[str, Any, Any], ...] = (
        ("the task", before.task, now.task),
        ("the shape of its images", before.image_shape, now.image_shape),
        ("its classes", before.class_names, now.class_names),
        ("the number of training, validation and test images", before.images, counts),
    )
    for what, old, new in facts:
        if old != new:
            return f"{what} was {_plain(old)}, is {_plain(new)}"
    return "its pixels or labels have changed"


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
