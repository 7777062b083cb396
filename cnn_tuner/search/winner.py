"""What follows the final training: the best model saved, evaluated once on the test part, exported and verified."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cnn_tuner.data.dataset import Dataset, Part
from cnn_tuner.errors import SearchError
from cnn_tuner.export import package, verification
from cnn_tuner.export.formats import keras_file, saved_model
from cnn_tuner.export.formats.registry import FORMATS, SAVED_MODEL, Source
from cnn_tuner.export.manifest import Manifest
from cnn_tuner.export.readers import Readers
from cnn_tuner.export.verify import Measured, Reading, verify
from cnn_tuner.metrics import calibration, scores, thresholds
from cnn_tuner.metrics.intervals import measure_intervals
from cnn_tuner.report import model_card
from cnn_tuner.report.model_card import FormatRow
from cnn_tuner.runs import evaluation
from cnn_tuner.runs.records import Winner
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.candidate import Candidate
from cnn_tuner.search.observer import Observer
from cnn_tuner.training import fit
from cnn_tuner.training.network import Networks


@dataclass(frozen=True)
class Export:
    """A SavedModel that was verified: its folder, and the largest difference of a score by format."""

    path: Path
    differences: dict[str, float]


def crown(
    store: RunStore, dataset: Dataset, candidate: Candidate, observer: Observer, networks: Networks | None = None
) -> Winner:
    """Saves the best model as `best.keras` and evaluates it on the test part, once: unless it is the winner already.

    `networks` built it; None: the seven steps.
    """
    earlier = store.winner()
    trial, result = candidate.trial, candidate.result
    is_known = earlier is not None and (earlier.job, earlier.epochs) == (candidate.job.number, candidate.epochs)
    if earlier is not None and is_known and store.keeps_winner:
        return earlier
    observer.phase("evaluating on the test part")
    started = time.monotonic()
    model = fit.load_best(candidate.job, networks)
    twin = model if candidate.twin == candidate.job else fit.load_best(candidate.twin, networks)
    metric = store.config.objective.metric
    # By the twin, which was not trained on the validation part.
    said = fit.predict(twin, dataset.val.x)
    temperature = calibration.temperature(dataset.task, dataset.val.y, said)
    probabilities = calibration.tempered(dataset.task, said, temperature)
    float32_score = fit.evaluate(twin, dataset.val, store.config.output, said)[metric]
    x, y = dataset.test.x, dataset.test.y
    found = fit.predict(model, x)
    test = scores.told(dataset.task, y, found)
    evaluation.save(evaluation.evaluate(dataset.task, Part(x, y), found), store.evaluation)
    keras_file.save(model, store.best_model)
    if result.score is None or result.best_epoch is None or trial.score is None:
        raise SearchError(f"trial {trial.number} has no score")
    winner = Winner(
        trial.number,
        candidate.epochs,
        result.best_epoch,
        trial.score,
        result.score,
        float32_score,
        test,
        len(dataset.test),
        trial.params,
        trial.macs,
        result.seconds + time.monotonic() - started,
        looks=1 if earlier is None else earlier.looks + (not is_known),
        job=candidate.job.number,
        test_intervals={
            name: (interval.low, interval.high) for name, interval in measure_intervals(dataset.task, y, found).items()
        },
        finalists=candidate.finalists,
        refit=candidate.refit,
        baselines=store.baselines() or (),
        passes=candidate.passes(store.config.epoch_share),
        temperature=temperature,
        thresholds=thresholds.choose(dataset.task, dataset.val.y, probabilities),
    )
    store.set_winner(winner)
    return winner


def drop_other_states(store: RunStore, candidate: Candidate) -> None:
    """Drops the states of final trainings that nothing goes on with any more."""
    for job in store.jobs():
        if job.suggestion is None and job.number not in (candidate.job.number, candidate.twin.number):
            store.drop_state(job.number)


def export(store: RunStore, dataset: Dataset, observer: Observer, formats: Sequence[str] = (SAVED_MODEL,)) -> Export:
    """Writes the winner as the next version of `export/<data>/<n>/`, once new processes have proved what it predicts.

    Raises:
        SearchError: the run has no winner yet.
        VerificationError: it does not predict what was measured; nothing is left behind.
    """
    winner, live = store.winner(), evaluation.load(store.evaluation)
    if winner is None or not store.best_model.is_file() or live is None:
        raise SearchError(f"{store.folder}: has no best.keras with an evaluation.npz to export")
    observer.phase("exporting, and verifying in a new process")
    with Readers({"keras", *formats}) as readers:  # which load what they read with while it is written
        return _export(store, dataset, formats, readers)


def _export(store: RunStore, dataset: Dataset, formats: Sequence[str], readers: Readers) -> Export:
    winner, live = store.winner(), evaluation.load(store.evaluation)
    assert winner is not None and live is not None
    model = saved_model.in_float32(keras_file.load(store.best_model, is_chain=store.config.hypermodel is None))
    facts = dataset.task, dataset.class_names, dataset.train.x
    source = Source(model, *facts, store.best_model, winner.temperature, store.config.data.fit)
    folder = store.folder / "export" / dataset.name
    aside = folder / f".{os.getpid()}"
    measured = Measured(dataset.task, dataset.class_names, dataset.test.x, live.scores, dataset.test.y)
    try:
        exports = package.write_formats(source, aside, formats)
        readings = verify(readers, measured, {"keras": store.best_model} | exports)
        trial = next(each for each in store.trials() if each.number == winner.trial)
        own = {name: readings[name] for name in exports}
        found = package.write_papers(aside, measured, own, store.config, winner, trial)
        version = f"{dataset.name}/{saved_model.next_version(folder)}"
        model_card.write(store, aside, version, _rows(found, own))
        package.seal(aside)
        for _ in verification.check_files(aside):
            pass
        differences = {name: reading.difference for name, reading in readings.items()}
        return Export(saved_model.publish(aside, folder), differences)
    finally:
        saved_model.discard(aside)


def _rows(found: Manifest, readings: dict[str, Reading]) -> list[FormatRow]:
    return [
        FormatRow(
            name,
            FORMATS[name].path,
            found.formats[name].bytes,
            found.formats[name].test,
            reading.difference,
            {images: 1000 * seconds for images, seconds in reading.latency.items()},
        )
        for name, reading in readings.items()
    ]
