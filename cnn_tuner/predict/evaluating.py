"""What an export is worth on data: a run's own, or any other that has its classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cnn_tuner.data import registry
from cnn_tuner.data.dataset import PARTS, Dataset
from cnn_tuner.data.files import listed
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError
from cnn_tuner.export.served import Served
from cnn_tuner.metrics import scores
from cnn_tuner.metrics.intervals import measure_intervals


def evaluate_export(export: Path, source: str, options: DataOptions, has_all_parts: bool = False) -> dict[str, Any]:
    """What an export says of data of the registry: of its test part, or with `has_all_parts` of every image.

    Image files are made of the export's size and channels.

    Raises:
        UsageError: the folder holds no export, or no data is called so.
        DataError: the data cannot be read, or its classes or images are not those of the export.
        VerificationError: the export holds what an export must not hold.
    """
    served = Served(export)
    fitted = replace(options, task=served.task)
    if registry.reads_pictures(source):
        height, width, channels = served.image_shape
        fitted = replace(fitted, image_size=(height, width), channels=channels)
    dataset = registry.load(source, fitted)
    _check_fits(export, served, dataset)
    return {"data": source} | evaluated(export, dataset, PARTS if has_all_parts else ("test",), served)


def _check_fits(export: Path, served: Served, dataset: Dataset) -> None:
    if dataset.image_shape != served.image_shape:
        found, wanted = ("x".join(map(str, shape)) for shape in (dataset.image_shape, served.image_shape))
        raise DataError(f"{dataset.source}: has images of {found}, but {export} takes {wanted}")
    if dataset.class_names != served.class_names:
        found, wanted = listed(dataset.class_names), listed(served.class_names)
        raise DataError(f"{dataset.source}: has the classes {found}, but {export} knows {wanted}")


def evaluated(
    export: Path, dataset: Dataset, parts: tuple[str, ...] = ("test",), served: Served | None = None
) -> dict[str, Any]:
    """Metrics, their 95 % intervals and each class by itself, of some parts of a dataset."""
    served = Served(export) if served is None else served
    chosen = [getattr(dataset, part) for part in parts]
    found = np.concatenate([served.scores(part.x) for part in chosen])
    y = np.concatenate([part.y for part in chosen])
    intervals = measure_intervals(dataset.task, y, found)
    return {
        "export": str(export),
        "parts": list(parts),
        "images": len(y),
        "test": scores.told(dataset.task, y, found),
        "intervals": {metric: [interval.low, interval.high] for metric, interval in intervals.items()},
        "classes": scores.by_class(dataset.task, y, found, dataset.class_names),
    }
