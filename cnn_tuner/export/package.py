"""Puts an export together in a folder of its own: the formats, what proves them, and what says what they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from cnn_tuner.data.files import one_line
from cnn_tuner.errors import FormatError
from cnn_tuner.export import checksums, golden, manifest, signatures
from cnn_tuner.export.formats.registry import FORMATS, SAVED_MODEL, Source
from cnn_tuner.export.manifest import FormatEntry, Manifest, metrics
from cnn_tuner.export.verify import Measured, Reading
from cnn_tuner.metrics import strict_json
from cnn_tuner.metrics.scores import measure
from cnn_tuner.runs.config import RunConfig
from cnn_tuner.runs.folders import write_aside
from cnn_tuner.runs.machine import identity
from cnn_tuner.runs.records import Trial, Winner

SAVED_MODEL_PARTS = ("saved_model.pb", "variables", "assets", "assets.extra")


def write_formats(source: Source, folder: Path, formats: Sequence[str]) -> dict[str, Path]:
    """Writes each format into `folder`, which is made; the paths of them by name.

    Raises:
        FormatError: a converter of another project fails, in whatever way it does.
        OSError: the disk is full.
    """
    for name in formats:
        try:
            FORMATS[name].write(source, folder)
        except Exception as error:
            if name == SAVED_MODEL or isinstance(error, OSError):
                raise
            raise FormatError(f"{name}: the model cannot be converted: {one_line(error)}", name) from error
    return {name: folder / FORMATS[name].path for name in formats}


def write_papers(
    folder: Path, measured: Measured, readings: dict[str, Reading], run: RunConfig, winner: Winner, trial: Trial
) -> Manifest:
    """Writes golden samples, manifest and latencies of the formats in `folder`, by what their readers found."""
    own = {name: reading.scores for name, reading in readings.items() if not FORMATS[name].is_exact}
    samples = golden.write(folder, measured, own)
    places = golden.choose(measured.task, _labels(measured), measured.images[0].nbytes)
    entries = {}
    for name, reading in readings.items():
        files = _files(folder, name)
        entries[name] = FormatEntry(
            files=tuple(files),
            bytes=sum((folder / file).stat().st_size for file in files),
            test=metrics(measure(measured.task, _labels(measured), reading.scores)),
            golden=metrics(measure(measured.task, _labels(samples), reading.scores[places])),
        )
    found = _manifest(folder, entries, len(places), run, winner, trial)
    manifest.write(folder, found)
    _write_latencies(folder, readings)
    return found


def seal(folder: Path) -> None:
    """Lists what every file is, after the last was written."""
    checksums.write(folder)


def _labels(measured: Measured) -> np.ndarray:
    assert measured.y is not None
    return measured.y


def _files(folder: Path, name: str) -> list[str]:
    if name != SAVED_MODEL:
        return [FORMATS[name].path]
    return [file for file in checksums.files(folder) if file.split("/")[0] in SAVED_MODEL_PARTS]


def _manifest(
    folder: Path, formats: dict[str, FormatEntry], samples: int, run: RunConfig, winner: Winner, trial: Trial
) -> Manifest:
    return Manifest(
        format=1,
        name=run.data.name,
        task=cast(Any, run.data.task),  # pydantic checks it
        class_names=run.data.class_names,
        image_shape=run.data.image_shape,
        signatures=signatures.read(folder),
        formats=formats,
        test=metrics(winner.test),
        test_intervals=winner.test_intervals,
        test_images=winner.test_images,
        golden_images=samples,
        turns_jpegs=True,
        temperature=winner.temperature,
        thresholds=winner.thresholds,
        fit=cast(Any, run.data.fit),
        params=winner.params,
        macs=winner.macs,
        values=trial.values,
        created=run.created,
        versions=run.versions,
        data_fingerprint=run.data.fingerprint,
        space_name=run.space_name,
        space=run.space,
        seed=run.search.seed,
    )


def _write_latencies(folder: Path, readings: dict[str, Reading]) -> None:
    """How long each format took for 1 and 64 images, and how far it was from the model, on this machine."""
    found = {
        "format": 1,
        "machine": identity(),
        "milliseconds": {
            name: {str(images): round(1000 * seconds, 4) for images, seconds in reading.latency.items()}
            for name, reading in readings.items()
        },
        "largest_difference": {name: reading.difference for name, reading in readings.items()},
    }
    write_aside(folder / manifest.LATENCY_FILE, strict_json.dumps(found, indent=2) + "\n")
