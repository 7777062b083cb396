"""What a run writes for TensorBoard: a run a trial, one for the best model, and at the root what the search reached.

HParams shows a row a trial: its values, its best objective, how it ended, its time and its size. These summaries are
write-once in TensorBoard, so that a row is written when its trial can no longer change.
"""

from __future__ import annotations

import itertools
import math
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams_summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from cnn_tuner.pareto import cost_of
from cnn_tuner.records import Epoch, Trial
from cnn_tuner.space import Parameter, SearchSpace
from cnn_tuner.tasks import Objective

INACTIVE = "-"  # of a hyperparameter that a point does not have: a blank would drop its line from the parallel plot
BEST = "best"
FRONT = "pareto-front"
# TensorBoard shows five columns at first: those that say most, whatever the space.
FIRST_COLUMNS = ("status", "learning_rate (log10)", "batch_size", "blocks", "dense_layers")
STATUSES = {"completed": "success", "stopped": "success", "failed": "failure"}


def scalar_tag(metric: str) -> str:
    """Training and validation of one metric stand side by side: `accuracy/train`, `accuracy/validation`."""
    return f"{metric.removeprefix('val_')}/{'validation' if metric.startswith('val_') else 'train'}"


def _column(parameter: Parameter) -> str:
    return f"{parameter.name} (log10)" if parameter.is_log else parameter.name


def _is_number(parameter: Parameter) -> bool:
    return parameter.is_continuous or isinstance(parameter.values[0], float)


def _cell(parameter: Parameter, value: Any) -> str | float:
    """One hyperparameter of one row. Whole numbers are zero-padded words: TensorBoard writes the number 8 as 8.0000."""
    if _is_number(parameter):
        number = 0.0 if value is None else float(value)  # only dropout can be inactive: none is a rate of 0
        return math.log10(number) if parameter.is_log else number
    if value is None:
        return INACTIVE
    width = max(len(str(v)) for v in parameter.values)
    return str(value).zfill(width) if isinstance(value, int) else str(value)


def _hparam_info(parameter: Parameter) -> api_pb2.HParamInfo:
    name = _column(parameter)
    info = api_pb2.HParamInfo(name=name, display_name=name, differs=name in FIRST_COLUMNS)
    if _is_number(parameter):
        ends = (parameter.low, parameter.high) if parameter.is_continuous else parameter.values
        cells = [float(_cell(parameter, end)) for end in ends] + ([0.0] if parameter.parent else [])
        info.type = api_pb2.DATA_TYPE_FLOAT64
        info.domain_interval.min_value, info.domain_interval.max_value = min(cells), max(cells)
        return info
    info.type = api_pb2.DATA_TYPE_STRING
    info.domain_discrete.extend([_cell(parameter, v) for v in parameter.values])
    if parameter.parent:
        info.domain_discrete.extend([INACTIVE])
    return info


class _EventFile:
    """One file of events, as TensorFlow's own summary writers write it, with a record for several values at once."""

    _made = itertools.count()

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{os.getpid()}.{next(self._made)}.v2"
        self._writer = tf.io.TFRecordWriter(str(folder / name))
        self._write(event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, summaries: Iterable[summary_pb2.Summary], step: int) -> None:
        """Writes these values, so that TensorBoard can read them at once."""
        event = event_pb2.Event(wall_time=time.time(), step=step)
        # As bytes: TensorBoard's plug-ins make them of TensorFlow's class or of TensorBoard's own.
        event.summary.ParseFromString(b"".join(summary.SerializeToString() for summary in summaries))
        self._write(event)
        self._writer.flush()

    def _write(self, event: event_pb2.Event) -> None:
        self._writer.write(event.SerializeToString())

    def close(self) -> None:
        self._writer.close()


class RunLogs:
    """The log folder of one run."""

    def __init__(self, folder: Path, space: SearchSpace, objective: Objective, measures_latency: bool = False) -> None:
        self.folder, self.objective, self.measures_latency = folder, objective, measures_latency
        self.parameters = [p for p in space.parameters if not p.is_fixed]
        self._files: dict[str, _EventFile] = {}

    def begin(self, started_at: float) -> None:
        """Declares the columns of HParams: typed hyperparameters, and the metrics with the objective first."""
        status = api_pb2.HParamInfo(name="status", display_name="status", type=api_pb2.DATA_TYPE_STRING, differs=True)
        status.domain_discrete.extend(list(STATUSES))
        metrics = [
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=f"trial/{tag}"), display_name=title)
            for tag, title in self._metric_titles().items()
        ]
        infos = [status, *(_hparam_info(p) for p in self.parameters)]
        self._file("").add([hparams_summary.experiment_pb(infos, metrics, time_created_secs=started_at)], 0)

    def _metric_titles(self) -> dict[str, str]:
        objective = {"objective": f"best {self.objective.name}"}
        names = ["best_epoch", "seconds", "params", "macs", *(["latency_ms"] if self.measures_latency else [])]
        return objective | {name: name.replace("_", " ") for name in names}

    def epoch(self, run: str, epoch: Epoch) -> None:
        """The curves of a trial or of the best model, one point each."""
        values = {scalar_tag(metric): value for metric, value in epoch.metrics.items()}
        self._file(run).add(_scalars(values), epoch.number)

    def rewrite(self, run: str, epochs: Iterable[Epoch]) -> None:
        """Replaces what was written of a run by these epochs."""
        self.close(run)
        shutil.rmtree(self.folder / run, ignore_errors=True)
        for epoch in epochs:
            self.epoch(run, epoch)

    def best_so_far(self, trials_ended: int, score: float) -> None:
        """The best objective after so many trials, at the root."""
        self._file("").add(_scalars({f"search/best {self.objective.name}": score}), trials_ended)

    def front(self, trials: Iterable[Trial], cost: str) -> None:
        """The Pareto front of two objectives as a curve: the objective over the cost, which TensorBoard calls a step.

        A latency is in microseconds there, since steps are whole numbers.
        """
        self.close(FRONT)
        shutil.rmtree(self.folder / FRONT, ignore_errors=True)
        unit = " in microseconds" if cost == "latency" else ""
        for trial in trials:
            step = round(float(cost_of(trial, cost) or 0.0) * (1e6 if cost == "latency" else 1))
            tag = f"search/best {self.objective.name} by {cost}{unit}"
            self._file(FRONT).add(_scalars({tag: float(trial.score or 0.0)}), step)
        self.close(FRONT)

    def trial_ended(self, trial: Trial) -> None:
        """The trial's row in HParams, once and for all."""
        run = trial_run(trial.number)
        row: dict[str, Any] = {_column(p): _cell(p, trial.values.get(p.name)) for p in self.parameters}
        row["status"] = trial.status
        metrics = {"seconds": trial.seconds, "params": trial.params, "macs": trial.macs}
        if trial.latency_seconds is not None:
            metrics["latency_ms"] = 1000 * trial.latency_seconds
        if trial.score is not None and trial.best_epoch is not None:
            metrics |= {"objective": trial.score, "best_epoch": trial.best_epoch}
        status = api_pb2.STATUS_FAILURE if STATUSES[trial.status] == "failure" else api_pb2.STATUS_SUCCESS
        began = hparams_summary.session_start_pb(row, group_name=run, start_time_secs=trial.started_at)
        ended = hparams_summary.session_end_pb(status, end_time_secs=trial.started_at + trial.seconds)
        values = {f"trial/{name}": value for name, value in metrics.items()}
        self._file(run).add([*_scalars(values), began, ended], 0)
        self.close(run)

    def close(self, run: str | None = None) -> None:
        """Closes one run's file, or all; a closed run can be written again."""
        for name in [run] if run is not None else list(self._files):
            file = self._files.pop(name, None)
            if file is not None:
                file.close()

    def _file(self, run: str) -> _EventFile:
        if run not in self._files:
            self._files[run] = _EventFile(self.folder / run)
        return self._files[run]


def _scalars(values: dict[str, float]) -> list[summary_pb2.Summary]:
    return [scalar_pb(tag, value) for tag, value in values.items()]


def trial_run(number: int) -> str:
    """The name of a trial's run in TensorBoard."""
    return f"trial-{number:04d}"
