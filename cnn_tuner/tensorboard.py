"""What a run writes for TensorBoard: a run a trial, one for the best model, and at the root what the search reached.

HParams shows a row a trial: its values, its best objective, how it ended, its time and its size. These summaries are
write-once in TensorBoard, so that a row is written when its trial can no longer change.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams_summary

from cnn_tuner.records import Epoch, Trial
from cnn_tuner.space import Parameter, SearchSpace
from cnn_tuner.tasks import Objective

INACTIVE = "-"  # of a hyperparameter that a point does not have: a blank would drop its line from the parallel plot
BEST = "best"
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


class RunLogs:
    """The log folder of one run."""

    def __init__(self, folder: Path, space: SearchSpace, objective: Objective) -> None:
        self.folder, self.objective = folder, objective
        self.parameters = [p for p in space.parameters if not p.is_fixed]
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def begin(self, started_at: float) -> None:
        """Declares the columns of HParams: typed hyperparameters, and the metrics with the objective first."""
        status = api_pb2.HParamInfo(name="status", display_name="status", type=api_pb2.DATA_TYPE_STRING, differs=True)
        status.domain_discrete.extend(list(STATUSES))
        metrics = [
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=f"trial/{tag}"), display_name=title)
            for tag, title in self._metric_titles().items()
        ]
        infos = [status, *(_hparam_info(p) for p in self.parameters)]
        self._raw("", hparams_summary.experiment_pb(infos, metrics, time_created_secs=started_at))

    def _metric_titles(self) -> dict[str, str]:
        objective = {"objective": f"best {self.objective.name}"}
        return objective | {name: name.replace("_", " ") for name in ("best_epoch", "seconds", "params", "macs")}

    def epoch(self, run: str, epoch: Epoch) -> None:
        """The curves of a trial or of the best model, one point each."""
        for metric, value in epoch.metrics.items():
            self._scalar(run, scalar_tag(metric), value, epoch.number)
        self._writer(run).flush()

    def best_so_far(self, trials_ended: int, score: float) -> None:
        """The best objective after so many trials, at the root."""
        self._scalar("", f"search/best {self.objective.name}", score, trials_ended)
        self._writer("").flush()

    def trial_ended(self, trial: Trial) -> None:
        """The trial's row in HParams, once and for all."""
        run = trial_run(trial.number)
        row: dict[str, Any] = {_column(p): _cell(p, trial.values.get(p.name)) for p in self.parameters}
        row["status"] = trial.status
        metrics = {"seconds": trial.seconds, "params": trial.params, "macs": trial.macs}
        if trial.score is not None and trial.best_epoch is not None:
            metrics |= {"objective": trial.score, "best_epoch": trial.best_epoch}
        for name, value in metrics.items():
            self._scalar(run, f"trial/{name}", value, 0)
        self._raw(run, hparams_summary.session_start_pb(row, group_name=run, start_time_secs=trial.started_at))
        status = api_pb2.STATUS_FAILURE if STATUSES[trial.status] == "failure" else api_pb2.STATUS_SUCCESS
        ended_at = trial.started_at + trial.seconds
        self._raw(run, hparams_summary.session_end_pb(status, end_time_secs=ended_at))
        self.close(run)

    def close(self, run: str | None = None) -> None:
        """Closes one run's writer, or all; a closed run can be written again."""
        for name in [run] if run is not None else list(self._writers):
            writer = self._writers.pop(name, None)
            if writer is not None:
                writer.close()

    def _writer(self, run: str) -> tf.summary.SummaryWriter:
        if run not in self._writers:
            self._writers[run] = tf.summary.create_file_writer(str(self.folder / run))
        return self._writers[run]

    def _scalar(self, run: str, tag: str, value: float, step: int) -> None:
        with self._writer(run).as_default():
            tf.summary.scalar(tag, value, step=step)

    def _raw(self, run: str, summary: Any) -> None:
        with self._writer(run).as_default():
            tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=0)
            self._writer(run).flush()


def trial_run(number: int) -> str:
    """The name of a trial's run in TensorBoard."""
    return f"trial-{number:04d}"
