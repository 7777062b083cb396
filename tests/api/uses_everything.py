"""Not run, but read by mypy --strict: a program that uses every public name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import cnn_tuner


class Watching(cnn_tuner.Callback):
    """Uses every event."""

    def on_run_begin(self, run: cnn_tuner.Run) -> None:
        print(run.path, run.name)

    def on_trial_begin(self, trial: cnn_tuner.Trial, epochs: int) -> None:
        print(trial.number, epochs)

    def on_epoch_end(self, trial: int, epoch: cnn_tuner.Epoch) -> None:
        print(trial, epoch.metrics["loss"])

    def on_trial_end(self, trial: cnn_tuner.Trial, best: cnn_tuner.Trial | None) -> None:
        if best is not None and best.score is not None and best.score > 0.9:
            self.stop()

    def on_trial_lost(self, trial: int, reason: str) -> None:
        print(trial, reason)

    def on_phase(self, text: str) -> None:
        print(text)

    def on_time_left(self, seconds: float) -> None:
        print(seconds)

    def on_run_end(self, run: cnn_tuner.Run) -> None:
        print(run.test)


def use(x: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], y: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
    """Every name once."""
    try:
        run: cnn_tuner.Run = cnn_tuner.tune((x, y), budget="10m", callbacks=[Watching()], verbose=1)
    except cnn_tuner.DataError as error:
        raise SystemExit(str(error)) from error
    trials: cnn_tuner.Trials = run.trials
    best: cnn_tuner.Trial | None = run.best
    score: float | None = run.score
    test: dict[str, float] = run.test
    report: Path = run.report()
    print(
        trials,
        best,
        score,
        test,
        run.intervals,
        run.baselines,
        run.objective,
        run.is_complete,
        run.is_interrupted,
        report,
    )
    export: cnn_tuner.Export = run.export(formats=["keras"], trial=1)
    found: cnn_tuner.Predictions = export.predict(x)
    print(found.names, found.classes, found.probabilities, found.values, len(found), export.verify(), run.exported)
    run = run.resume(data=(x, y)).extend("10m", data=(x, y))
    opened = cnn_tuner.load("runs/digits-quick-1")
    if isinstance(opened, cnn_tuner.Export):
        print(opened.task, opened.class_names, opened.image_shape, opened.evaluate("digits"))


ERRORS: tuple[type[cnn_tuner.CnnTunerError], ...] = (
    cnn_tuner.DataError,
    cnn_tuner.FormatError,
    cnn_tuner.SearchError,
    cnn_tuner.SpaceError,
    cnn_tuner.StorageError,
    cnn_tuner.UsageError,
    cnn_tuner.VerificationError,
)
