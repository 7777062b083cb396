"""What TensorBoard reads: every row typed and whole, by its own HParams backend and its own event files."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata
from tensorboard.util.tensor_util import make_ndarray
from toys import toy_space

from cnn_tuner.logs.trials import INACTIVE, RunLogs, _cell, scalar_tag, trial_run
from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.runs.records import Epoch, Trial
from cnn_tuner.spaces.tree import Parameter

OBJECTIVE = Objective("val_accuracy", "max")
LARGE = {"blocks": 1, "block_1.filters": 4, "block_1.pool_size": 2, "block_1.dropout": 0.2}
LARGE |= {"dense_layers": 1, "dense_1.units": 8, "dense_1.dropout": 0.0, "learning_rate": 0.01, "batch_size": 16}
SMALL = {name: value for name, value in LARGE.items() if not name.startswith("dense_1")} | {"dense_layers": 0}


@pytest.fixture
def logs(tmp_path):
    logs = RunLogs(tmp_path / "tensorboard", toy_space(), OBJECTIVE)
    logs.begin(1000.0)
    yield logs
    logs.close()


def read(logs: RunLogs) -> EventMultiplexer:
    logs.close()
    events = EventMultiplexer()
    events.AddRunsFromDirectory(str(logs.folder))
    events.Reload()
    return events


def hparams(events: EventMultiplexer, run: str, tag: str):
    content = events.SummaryMetadata(run, tag).plugin_data.content
    if tag == metadata.SESSION_START_INFO_TAG:
        return metadata.parse_session_start_info_plugin_data(content)
    if tag == metadata.SESSION_END_INFO_TAG:
        return metadata.parse_session_end_info_plugin_data(content)
    return metadata.parse_experiment_plugin_data(content)


def trial(number: int, values: dict, status: str = "completed", score: float | None = 0.5) -> Trial:
    best_epoch = None if score is None else 2
    return Trial(number, values, 0, 100, 200, status, score, best_epoch, 7.5, "", 2000.0)


def test_curves_of_training_and_validation_stand_side_by_side(logs):
    for number in (1, 2):
        logs.epoch(trial_run(1), Epoch(number, {"accuracy": number / 4, "val_accuracy": number / 8}, 1.0))
    events = read(logs)
    assert [(e.step, make_ndarray(e.tensor_proto)) for e in events.Tensors("trial-0001", "accuracy/validation")] == [
        (1, 0.125),
        (2, 0.25),
    ]
    assert "accuracy/train" in events.Runs()["trial-0001"]["tensors"]
    assert scalar_tag("val_loss") == "loss/validation"


def test_every_row_has_every_hyperparameter_with_one_type(logs):
    logs.trial_ended(trial(1, LARGE))
    logs.trial_ended(trial(2, SMALL))
    events = read(logs)
    rows = [dict(hparams(events, trial_run(n), metadata.SESSION_START_INFO_TAG).hparams) for n in (1, 2)]
    declared = {info.name for info in hparams(events, ".", metadata.EXPERIMENT_TAG).hparam_infos}
    assert set(rows[0]) == set(rows[1]) == declared
    for name in declared:
        assert rows[0][name].WhichOneof("kind") == rows[1][name].WhichOneof("kind") is not None
    assert rows[1]["dense_1.units"].string_value == INACTIVE
    assert rows[0]["learning_rate (log10)"].number_value == pytest.approx(-2)


def test_a_row_says_when_its_trial_began_and_ended_and_how(logs):
    logs.trial_ended(trial(1, LARGE))
    logs.trial_ended(trial(2, LARGE, "failed", None))
    events = read(logs)
    start = hparams(events, "trial-0001", metadata.SESSION_START_INFO_TAG)
    end = hparams(events, "trial-0001", metadata.SESSION_END_INFO_TAG)
    assert (start.start_time_secs, end.end_time_secs) == (2000.0, 2007.5)
    assert start.hparams["1 status"].string_value == "completed"
    failed = hparams(events, "trial-0002", metadata.SESSION_END_INFO_TAG)
    assert (end.status, failed.status) == (1, 2)  # STATUS_SUCCESS, STATUS_FAILURE


def test_a_failed_trial_has_a_row_and_no_objective(logs):
    logs.trial_ended(trial(1, LARGE, "failed", None))
    tags = read(logs).Runs()["trial-0001"]["tensors"]
    assert "trial/seconds" in tags
    assert "trial/objective" not in tags


def test_a_network_that_could_not_be_built_has_a_row_all_the_same(logs):
    logs.trial_ended(replace(trial(1, LARGE, "failed", None), params=0, macs=0))
    start = hparams(read(logs), "trial-0001", metadata.SESSION_START_INFO_TAG)
    assert start.hparams["2 size"].number_value == 0


def test_the_node_of_a_trial_is_there(logs):
    logs.trial_ended(replace(trial(1, LARGE), where="node-7"))
    logs.trial_ended(trial(2, LARGE))
    events = read(logs)
    [found] = events.Tensors("trial-0001", "trial/node")
    assert make_ndarray(found.tensor_proto).tolist() == b"node-7"
    assert "trial/node" not in events.Runs()["trial-0002"]["tensors"]


def test_the_objective_is_the_first_metric(logs):
    infos = hparams(read(logs), ".", metadata.EXPERIMENT_TAG).metric_infos
    assert [info.display_name for info in infos] == [
        "best val_accuracy",
        "seconds",
        "params",
        "macs",
        "best epoch",
    ]


def test_a_trial_that_goes_on_writes_on_the_same_curve(logs):
    logs.epoch(trial_run(1), Epoch(1, {"loss": 1.0}, 1.0))
    logs.close(trial_run(1))
    logs.epoch(trial_run(1), Epoch(2, {"loss": 0.5}, 1.0))
    assert [event.step for event in read(logs).Tensors("trial-0001", "loss/train")] == [1, 2]


def test_files_of_one_second_are_read_in_the_order_in_which_they_were_made(logs, monkeypatch):
    monkeypatch.setattr("cnn_tuner.logs.trials._EventFile._made", itertools.count(8))
    monkeypatch.setattr("cnn_tuner.logs.trials.time.time", lambda: 1000.0)
    for number in range(1, 5):
        logs.epoch(trial_run(1), Epoch(number, {"loss": 1.0 / number}, 1.0))
        logs.close(trial_run(1))
    assert [event.step for event in read(logs).Tensors("trial-0001", "loss/train")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("parameter", "value", "cell"),
    [
        (Parameter("filters", (8, 16, 128)), 8, "008"),
        (Parameter("filters", (8, 16)), None, INACTIVE),
        (Parameter("padding", ("same", "valid")), "same", "same"),
        (Parameter("dropout", (0.0, 0.5)), 0.5, 0.5),
        (Parameter("dropout", (0.0, 0.5)), None, 0.0),
        (Parameter("learning_rate", (), 0.001, 0.1, True), 0.01, -2.0),
    ],
)
def test_cells_are_sortable(parameter, value, cell):
    found = _cell(parameter, value)
    assert type(found) is type(cell)
    assert found == cell or math.isclose(found, cell)


def test_the_front_is_a_curve_of_the_objective_over_the_cost(logs):
    found = [replace(trial(n, LARGE, score=score), params=params) for n, score, params in ((1, 0.5, 10), (2, 0.9, 30))]
    logs.front([found[1]], "params")
    logs.front(found, "params")
    points = read(logs).Tensors("pareto-front", "search/best val_accuracy by params")
    assert [(event.step, float(make_ndarray(event.tensor_proto))) for event in points] == [
        (10, 0.5),
        (30, pytest.approx(0.9)),
    ]


def test_a_latency_is_in_microseconds_on_the_front_and_in_milliseconds_in_its_row(tmp_path):
    logs = RunLogs(tmp_path / "tensorboard", toy_space(), OBJECTIVE, measures_latency=True)
    logs.begin(1000.0)
    fast = replace(trial(1, LARGE), latency_seconds=0.0025)
    logs.trial_ended(fast)
    logs.front([fast], "latency")
    events = read(logs)
    [point] = events.Tensors("pareto-front", "search/best val_accuracy by latency in microseconds")
    assert point.step == 2500
    [value] = events.Tensors("trial-0001", "trial/latency_ms")
    assert float(make_ndarray(value.tensor_proto)) == pytest.approx(2.5)
    declared = [info.name.tag for info in hparams(events, ".", metadata.EXPERIMENT_TAG).metric_infos]
    assert declared[0] == "trial/objective" and declared[-1] == "trial/latency_ms"


def test_what_is_seen_first_is_named_to_come_first(logs):
    infos = hparams(read(logs), ".", metadata.EXPERIMENT_TAG).hparam_infos
    first = sorted((info for info in infos if info.differs), key=lambda info: info.name)
    assert [info.display_name for info in first] == [
        "status",
        "params (log10)",
        "dense_layers",
        "learning_rate (log10)",
    ]  # fmt: skip; the number of blocks is fixed here


def test_progress_is_by_job_and_by_second_of_active_time(logs):
    logs.progress(1, 0.5, 10.4, 100.0)
    logs.progress(2, 0.7, 20.0, 100.0)
    events = read(logs)

    def curve(tag):
        return [(e.step, round(float(make_ndarray(e.tensor_proto)), 3)) for e in events.Tensors(".", tag)]

    assert curve("search/best val_accuracy") == [(1, 0.5), (2, 0.7)]
    assert curve("search/best val_accuracy by second") == [(10, 0.5), (20, 0.7)]
    assert curve("budget/jobs ended by second") == [(10, 1.0), (20, 2.0)]
    assert curve("budget/share used by second") == [(10, 0.104), (20, 0.2)]


def test_training_and_validation_of_a_metric_share_a_chart(tmp_path):
    logs = RunLogs(tmp_path / "tensorboard", toy_space(), OBJECTIVE, metrics=("loss", "accuracy"))
    logs.begin(1000.0)
    [event] = read(logs).Tensors(".", "custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(make_ndarray(event.tensor_proto).item())
    [category] = layout.category
    assert [(chart.title, list(chart.multiline.tag)) for chart in category.chart] == [
        ("loss", ["^loss/(train|validation)$"]),
        ("accuracy", ["^accuracy/(train|validation)$"]),
    ]
