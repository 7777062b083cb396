"""A run's history leaves it whole: in every format, of every trial, with what is not there left empty."""

from __future__ import annotations

import csv
import io
import json
import sys

import pytest
from toys import FormulaExecutor, toy_run

from cnn_tuner.errors import UsageError
from cnn_tuner.logs.trials import RunLogs
from cnn_tuner.runs import history
from cnn_tuner.runs.records import Epoch, JobRecord, Result
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.loop import Search
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.suggesting import make_oracle


@pytest.fixture
def run(tmp_path) -> RunStore:
    """A search of Hyperband's, so that trials have several jobs; one failed, one was lost once; a final training."""
    run = toy_run(tmp_path, oracle="hyperband", max_trials=9, epochs=9)
    logs = RunLogs(run.tensorboard, run.config.search_space(), run.config.objective)
    with run.at_work("cnn-tuner tune", {"python": "3"}):
        Search(run, make_oracle(run.config), FormulaExecutor(fails=(3,), loses={2: 1}), logs, Silent()).run()
        best = run.best_trial()
        final = JobRecord(run.last_job() + 1, best.number, None, best.epochs_done, 10, "float32", started_at=60.0)
        run.start_job(final)
        epochs = (Epoch(10, {"val_accuracy": 0.9, "größe": 1.5}, 0.25),)
        run.end_job(Result(final.number, "completed", 0.9, 10, epochs, 0.5, peak_bytes=2**30))
    return run


def as_csv(run: RunStore) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(history.to_csv(run).decode())))


def test_there_is_a_row_an_epoch_and_one_for_what_has_none(run):
    found = [(int(row["job"]), row["epoch"]) for row in as_csv(run)]
    expected = [(job.number, str(e.number)) for job in run.jobs() for e in run.epochs(job.number)]
    assert sorted(found) == sorted([*expected, (3, "")])


def test_curves_are_those_of_the_store(run):
    for trial in run.trials():
        rows = [r for r in as_csv(run) if r["trial"] == str(trial.number) and r["job_kind"] == "search" and r["epoch"]]
        assert [float(row["val_accuracy"]) for row in rows] == [e.metrics["val_accuracy"] for e in trial.epochs]


def test_what_a_row_does_not_have_is_empty(run):
    rows = as_csv(run)
    assert {row["größe"] for row in rows} == {"", "1.5"}
    assert {row["hp.dense_1.units"] for row in rows if row["hp.dense_layers"] == "0"} == {""}
    failed = [row for row in rows if row["trial"] == "3"]
    assert [(r["status"], r["reason"], r["score"], r["epoch"]) for r in failed] == [("failed", "it broke", "", "")]


def test_attempts_memory_and_the_time_of_a_job_are_told(run):
    rows = as_csv(run)
    assert {row["attempts"] for row in rows if row["job"] == "2"} == {"2"}
    final = rows[-1]
    assert (final["job_kind"], final["peak_memory_bytes"], final["job_seconds"]) == ("final", str(2**30), "0.5")
    assert final["started_at"] == "1970-01-01T00:01:00+00:00"


def test_json_holds_the_config_the_sessions_and_every_job(run):
    found = json.loads(history.to_json(run))
    assert found["config"]["search"]["oracle"] == "hyperband"
    assert [session["command"] for session in found["sessions"]] == ["cnn-tuner tune"]
    assert found["sessions"][0]["versions"] == {"python": "3"}
    assert sum(len(trial["jobs"]) for trial in found["trials"]) == len(run.jobs())
    best = found["trials"][run.best_trial().number - 1]
    assert [epoch["number"] for job in best["jobs"] for epoch in job["epochs"]] == list(range(1, 11))


def test_parquet_is_typed_and_says_the_same(run, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    history.write(run, "parquet", tmp_path / "run.parquet")
    table = parquet.read_table(tmp_path / "run.parquet")
    assert {str(table.schema.field(name).type) for name in ("trial", "epoch", "seed")} == {"int64"}
    assert str(table.schema.field("val_accuracy").type) == "double"
    rows = [{k: "" if v is None else str(v) for k, v in row.items()} for row in table.to_pylist()]
    assert rows == as_csv(run)


def test_without_pyarrow_the_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"^--format parquet: needs pyarrow; install it with: pip install 'cnn-tuner"):
        history.to_parquet(run)


def test_an_unknown_format_is_named_with_the_choices():
    with pytest.raises(UsageError, match=r"^--format: unknown: 'xlsx'; choices: csv, json, parquet$"):
        history.check_format("xlsx")


def test_a_file_is_written_whole_or_not_at_all(run, tmp_path, monkeypatch):
    file = tmp_path / "run.csv"
    history.write(run, "csv", file)
    before = file.read_bytes()
    monkeypatch.setitem(history.WRITERS, "csv", lambda run: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        history.write(run, "csv", file)
    assert file.read_bytes() == before == history.to_csv(run)


def test_a_run_without_trials_has_no_rows(tmp_path):
    run = toy_run(tmp_path)
    assert history.rows(run) == []
    assert json.loads(history.to_json(run))["trials"] == []


def test_the_node_of_each_job_is_there_where_a_cluster_trained(run):
    assert "node" not in history.rows(run)[0]
    with run.at_work("cnn-tuner resume", {"python": "3"}):
        number = run.last_job() + 1
        run.start_job(JobRecord(number, 1, None, 0, 1, "float32", replicate=1))
        run.place_job(number, "node-6")  # where it was lost
        run.place_job(number, "node-7")
        run.end_job(Result(number, "completed", 0.5, 1, (), 1.0))
    assert run.places() == {number: "node-7"}
    assert {row["job"]: row["node"] for row in history.rows(run)} == dict.fromkeys(range(1, number), "") | {
        number: "node-7"
    }
