"""An export, verified by its own files alone: from the container to the accuracy, cheap and safe steps first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cnn_tuner.data.files import listed, shown
from cnn_tuner.errors import UsageError, VerificationError
from cnn_tuner.export import checksums, golden, manifest, safety, signatures
from cnn_tuner.export.checks import container
from cnn_tuner.export.formats import saved_model
from cnn_tuner.export.formats.registry import FORMATS
from cnn_tuner.export.manifest import Manifest
from cnn_tuner.export.readers import Readers
from cnn_tuner.export.verify import MAX_GROWTH, MAX_LOSS, Measured, Reading, compared
from cnn_tuner.metrics import scores


@dataclass(frozen=True)
class Step:
    """One step that passed, or was skipped since its reader is missing; one that fails is an error instead."""

    name: str
    status: Literal["passed", "skipped"]
    text: str


def check_files(folder: Path) -> Iterator[Step]:
    """What can be checked before anything is loaded: container, checksums, graph, signatures and labels.

    Raises:
        VerificationError: a step fails; the message names the file.
    """
    safety.check_container(folder)
    left = container.harmless(folder)
    passed_over = f"; passed over, not read: {listed(left, 3)}" if left else ""
    yield Step("container", "passed", f"no links that leave it, no pickles, sizes within limits{passed_over}")
    count = checksums.check(folder)
    yield Step("checksums", "passed", f"{count} files are what {checksums.FILE} says")
    safety.check_graph(folder)
    safety.check_formats(folder)
    yield Step("graph", "passed", "no operation that reads or writes files, or runs code")
    found = manifest.read(folder)
    _check_signatures(folder, found)
    _check_formats(folder, found)
    yield Step("signatures", "passed", f"{', '.join(found.signatures)}; labels are the same in asset and manifest")


def _check_signatures(folder: Path, found: Manifest) -> None:
    there = signatures.read(folder)
    for name in sorted(there.keys() | found.signatures.keys()):
        if there.get(name) != found.signatures.get(name):
            raise VerificationError(f"{folder / 'saved_model.pb'}: signature {name}: is not what {manifest.FILE} says")
    asset = folder / "assets" / saved_model.CLASS_NAMES
    if not asset.is_file() or asset.read_bytes() != saved_model.names_text(found.class_names).encode():
        raise VerificationError(f"{asset}: are not the class names that {manifest.FILE} has")


def _check_formats(folder: Path, found: Manifest) -> None:
    sizes = {file: (folder / file).stat().st_size for file in checksums.files(folder)}
    for name, entry in found.formats.items():
        where = f"{folder / manifest.FILE}: formats: "
        if name not in FORMATS:
            raise VerificationError(f"{where}unknown: {name!r}")
        if FORMATS[name].path not in ("", *entry.files):
            raise VerificationError(f"{where}{name}: must have {FORMATS[name].path}")
        if absent := [file for file in entry.files if file not in sizes]:
            raise VerificationError(f"{where}{name}: {shown(absent[0])} is not there")
        size = sum(sizes[file] for file in entry.files)
        if size != entry.bytes:
            raise VerificationError(f"{where}{name}: says {entry.bytes:,} bytes, its files have {size:,}")


def verify_folder(folder: Path) -> Iterator[Step]:
    """Verifies the export in `folder` with its golden samples, a step at a time; each reader is a new process.

    Raises:
        UsageError: it is not an export, or one without a manifest.
        VerificationError: a step fails; the message says which file, or which image and by how much.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    if not (folder / checksums.FILE).is_file():
        manifest.read(folder)  # says so of a folder that never had either
    yield from check_files(folder)
    found = manifest.read(folder)
    samples = golden.read(folder, found.task, found.class_names, found.image_shape)
    if len(samples.images) != found.golden_images:
        said = f"says {found.golden_images} golden images, {golden.FILE} has {len(samples.images)}"
        raise VerificationError(f"{folder / manifest.FILE}: {said}")
    there = {name: folder / FORMATS[name].path for name in found.formats if not FORMATS[name].missing}
    readings: dict[str, Reading] = {}
    with Readers(there) as started:
        asked = started.ask(samples.images, there)
        for name in found.formats:
            if name not in asked:
                yield Step(name, "skipped", FORMATS[name].missing)
                continue
            readings[name] = compared(asked[name], name, samples)
            told = f"a new process says the same of {len(samples.images)} images"
            yield Step(name, "passed", f"{told} (largest difference {readings[name].difference:.1g})")
    yield _check_accuracy(folder, found, samples, readings)


def _check_accuracy(folder: Path, found: Manifest, samples: Measured, readings: dict[str, Reading]) -> Step:
    assert samples.y is not None
    told = []
    for name, reading in readings.items():
        measured = manifest.metrics(scores.measure(samples.task, samples.y, reading.scores))
        for metric, expected in found.formats[name].golden.items():
            if not _is_close(measured.get(metric), expected, 0 if FORMATS[name].is_exact else 1 / len(samples.y)):
                said = f"{metric} {measured.get(metric)} on {samples.part}, {manifest.FILE} says {expected}"
                raise VerificationError(f"{folder / FORMATS[name].path}: {name}: {said}")
        shown = ", ".join(f"{metric} {value:.4g}" for metric, value in measured.items() if value is not None)
        told.append(f"{name} {shown}")
    return Step("accuracy", "passed", f"as {manifest.FILE} says: {'; '.join(told)}")


def _is_close(measured: float | None, expected: float | None, rounding: float) -> bool:
    """Whether a metric is the same; `rounding`: what a format that rounds may be off by on another processor."""
    if measured is None or expected is None:
        return measured is expected
    return math.isclose(measured, expected, rel_tol=MAX_GROWTH if rounding else 1e-4, abs_tol=max(MAX_LOSS, rounding))
