"""What a run writes for TensorBoard: a run a trial, one for the best model, and at the root what the search reached.

HParams shows a row a trial: its values, its best objective, how it ended, its time and its size. The values and the
status are write-once in TensorBoard, so that a row is written when its trial has ended; what it reaches when it is
trained on are scalars, of which HParams shows the last.
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
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar_summary
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams_summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb

from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.runs.pareto import cost_of
from cnn_tuner.runs.records import Epoch, Trial
from cnn_tuner.spaces.tree import Parameter, SearchSpace

INACTIVE = "-"  # of a hyperparameter that a point does not have: a blank would drop its line from the parallel plot
BEST = "best"
FRONT = "pareto-front"
# TensorBoard shows five hyperparameters at first, in the order of their names, and then the metrics, the objective as
# the first of them. So these are named to come first, and shown without their numbers.
STATUS, SIZE = "1 status", "2 size"
FIRST_COLUMNS = ("learning_rate (log10)", "blocks", "dense_layers")
FULL_RUNS = 200  # trials with curves in any case; of later ones those that are trained on. TensorBoard gets slow
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
        # TensorBoard reads the files of a run in the order of their names: ten may be made within a second.
        name = f"events.out.tfevents.{int(time.time()):010d}.{os.getpid()}.{next(self._made):08d}.v2"
        self._writer = tf.io.TFRecordWriter(str(folder / name))
        self._write(event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, summaries: Iterable[summary_pb2.Summary], step: int, at: float | None = None) -> None:
        """Writes these values of a moment (seconds since 1970; now), so that TensorBoard can read them at once."""
        event = event_pb2.Event(wall_time=time.time() if at is None else at, step=step)
        # As bytes: TensorBoard's plug-ins make them of TensorFlow's class or of TensorBoard's own.
        event.summary.ParseFromString(b"".join(summary.SerializeToString() for summary in summaries))
        self._write(event)
        self._writer.flush()

    def add_graph(self, graph: bytes) -> None:
        """Writes a serialized GraphDef."""
        self._write(event_pb2.Event(wall_time=time.time(), graph_def=graph))

    def _write(self, event: event_pb2.Event) -> None:
        self._writer.write(event.SerializeToString())

    def close(self) -> None:
        self._writer.close()


class RunLogs:
    """The log folder of one run. `metrics` are those whose training and validation share a chart of Custom Scalars."""

    def __init__(
        self,
        folder: Path,
        space: SearchSpace,
        objective: Objective,
        measures_latency: bool = False,
        metrics: Iterable[str] = (),
    ) -> None:
        self.folder, self.objective, self.measures_latency = folder, objective, measures_latency
        self.metrics = tuple(metrics)
        self.parameters = [p for p in space.parameters if not p.is_fixed]
        self._files: dict[str, _EventFile] = {}
        self._rows: set[str] = set()  # the runs that have their row

    def begin(self, started_at: float) -> None:
        """Declares the columns of HParams: typed hyperparameters, and the metrics with the objective first."""
        status = api_pb2.HParamInfo(name=STATUS, display_name="status", type=api_pb2.DATA_TYPE_STRING, differs=True)
        status.domain_discrete.extend(list(STATUSES))
        size = api_pb2.HParamInfo(
            name=SIZE, display_name="params (log10)", type=api_pb2.DATA_TYPE_FLOAT64, differs=True
        )
        metrics = [
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=f"trial/{tag}"), display_name=title)
            for tag, title in self._metric_titles().items()
        ]
        infos = [status, size, *(_hparam_info(p) for p in self.parameters)]
        declared = [hparams_summary.experiment_pb(infos, metrics, time_created_secs=started_at)]
        if self.metrics:
            declared.append(custom_scalar_summary.pb(_layout(self.metrics)))
        self._file("").add(declared, 0)

    def _metric_titles(self) -> dict[str, str]:
        objective = {"objective": f"best {self.objective.name}"}
        names = ["seconds", "params", "macs", "best_epoch", *(["latency_ms"] if self.measures_latency else [])]
        return objective | {name: name.replace("_", " ") for name in names}

    def epoch(self, run: str, epoch: Epoch, at: float | None = None) -> None:
        """The curves of a trial or of the best model, one point each, which ended at a moment; now."""
        values = {scalar_tag(metric): value for metric, value in epoch.metrics.items()}
        self._file(run).add(_scalars(values), epoch.number, at)

    def rewrite(self, run: str, epochs: Iterable[Epoch]) -> None:
        """Replaces what was written of a run by these epochs."""
        self.close(run)
        self._rows.discard(run)
        shutil.rmtree(self.folder / run, ignore_errors=True)
        for epoch in epochs:
            self.epoch(run, epoch)

    def show(self, run: str, summaries: Iterable[summary_pb2.Summary], graph: bytes) -> None:
        """Pictures, texts and curves of a run, and its graph (a serialized GraphDef)."""
        self._file(run).add(summaries, 0)
        self._file(run).add_graph(graph)
        self.close(run)

    def progress(
        self, jobs_ended: int, best: float, seconds: float, budget_seconds: float | None, at: float | None = None
    ) -> None:
        """The best objective after so many jobs and so many seconds of active time, and what the budget has bought."""
        name = f"search/best {self.objective.name}"
        self._file("").add(_scalars({name: best}), jobs_ended, at)
        by_second = {f"{name} by second": best, "budget/jobs ended by second": jobs_ended}
        if budget_seconds is not None:
            by_second["budget/share used by second"] = seconds / budget_seconds
        self._file("").add(_scalars(by_second), round(seconds), at)

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
        """The trial's row in HParams, or what has changed in it since the trial was trained on."""
        run = trial_run(trial.number)
        summaries = _scalars({f"trial/{name}": value for name, value in self._metrics(trial).items()})
        if run not in self._rows:
            self._rows.add(run)
            summaries += self._row(trial)
        if trial.where:
            summaries.append(text_pb("trial/node", trial.where))
        self._file(run).add(summaries, trial.epochs_done)
        self.close(run)

    def _row(self, trial: Trial) -> list[summary_pb2.Summary]:
        row: dict[str, Any] = {_column(p): _cell(p, trial.values.get(p.name)) for p in self.parameters}
        row[STATUS] = "completed" if trial.status == "running" else trial.status  # that runs on has completed before
        row[SIZE] = math.log10(max(1, trial.params))  # of a network that could not be built nothing is known
        ended = api_pb2.STATUS_FAILURE if STATUSES[row[STATUS]] == "failure" else api_pb2.STATUS_SUCCESS
        name = trial_run(trial.number)
        return [
            hparams_summary.session_start_pb(row, group_name=name, start_time_secs=trial.started_at),
            hparams_summary.session_end_pb(ended, end_time_secs=trial.started_at + trial.seconds),
        ]

    def _metrics(self, trial: Trial) -> dict[str, float]:
        metrics = {"seconds": trial.seconds, "params": trial.params, "macs": trial.macs}
        if trial.latency_seconds is not None:
            metrics["latency_ms"] = 1000 * trial.latency_seconds
        if trial.score is not None and trial.best_epoch is not None:
            metrics |= {"objective": trial.score, "best_epoch": trial.best_epoch}
        return metrics

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


def _layout(metrics: Iterable[str]) -> layout_pb2.Layout:
    charts = [
        layout_pb2.Chart(title=name, multiline=layout_pb2.MultilineChartContent(tag=[rf"^{name}/(train|validation)$"]))
        for name in metrics
    ]
    return layout_pb2.Layout(category=[layout_pb2.Category(title="training against validation", chart=charts)])


def _scalars(values: dict[str, float]) -> list[summary_pb2.Summary]:
    return [scalar_pb(tag, value) for tag, value in values.items()]


def has_curve(number: int, is_trained_on: bool) -> bool:
    """Whether the epochs of a trial are written: some hundred curves are as many as anybody looks at."""
    return number <= FULL_RUNS or is_trained_on


def trial_run(number: int) -> str:
    """The name of a trial's run in TensorBoard."""
    return f"trial-{number:04d}"
