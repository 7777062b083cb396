"""What an export is worth on data: a run's own, or any other that has its classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cnn_tuner.data import registry
from cnn_tuner.data.assembling import divided
from cnn_tuner.data.cache import Cache
from cnn_tuner.data.calling import GIVEN
from cnn_tuner.data.dataset import Part, Parts
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError
from cnn_tuner.export.served import Served
from cnn_tuner.metrics import scores
from cnn_tuner.metrics.intervals import measure_intervals


def evaluate_export(
    export: Path,
    source: Any,
    options: DataOptions,
    has_all_parts: bool = False,
    cache: Cache | None = None,
    served: Served | None = None,
) -> dict[str, Any]:
    """What an export says of data of the registry, or in memory: of its test part, or with `has_all_parts` of all.

    Image files are made of the export's size and channels. `served`: the export, where it is loaded already.

    Raises:
        UsageError: the folder holds no export, or no data is called so.
        DataError: the data cannot be read, or its classes or images are not those of the export.
        VerificationError: the export holds what an export must not hold.
    """
    served = Served(export) if served is None else served
    name, load = (source, registry.load_parts) if isinstance(source, str) else (GIVEN, registry.load_given_parts)
    fitted = replace(options, task=served.task, known_classes=served.class_names)
    if registry.reads_pictures(source):
        height, width, channels = served.image_shape
        fitted = replace(fitted, image_size=(height, width), channels=channels, fit=served.fit)
    found = load(source, fitted, cache)
    if found.image_shape != served.image_shape:
        got, wanted = ("x".join(map(str, shape)) for shape in (found.image_shape, served.image_shape))
        raise DataError(f"{name}: has images of {got}, but {export} takes {wanted}")
    parts = found.parts if has_all_parts else {"test": _test_part(found, fitted)}
    return {"data": name} | evaluated(export, parts, served)


def _test_part(found: Parts, options: DataOptions) -> Part:
    """The one that there is, or that a run on this data would split off."""
    if "test" in found.parts:
        return found.parts["test"]
    try:
        return divided(found, options).test
    except DataError as error:
        raise DataError(f"{error}; --all-parts evaluates every image, without a split") from error


def evaluated(export: Path, parts: Mapping[str, Part], served: Served | None = None) -> dict[str, Any]:
    """Metrics, their 95 % intervals and each class by itself, of parts by name."""
    served = Served(export) if served is None else served
    found = np.concatenate([served.scores(part.x) for part in parts.values()])
    y = np.concatenate([part.y for part in parts.values()])
    intervals = measure_intervals(served.task, y, found)
    return {
        "export": str(export),
        "parts": list(parts),
        "images": len(y),
        "test": scores.told(served.task, y, found),
        "intervals": {metric: [interval.low, interval.high] for metric, interval in intervals.items()},
        "classes": scores.by_class(served.task, y, found, served.class_names),
    }
