"""A run as an object: what it answers, in every state, and what it refuses."""

from __future__ import annotations

import pickle
import sys

import finished_runs
import keras
import numpy as np
import pytest
from toys import NAMES

import cnn_tuner
from cnn_tuner.errors import DataError, UsageError


def test_a_run_says_what_it_found(run, toy):
    assert (run.name, run.path, run.objective) == ("shared", toy.folder / "runs" / "shared", "val_accuracy")
    assert [trial.number for trial in run.trials] == [1, 2]
    assert run.best in run.trials
    assert {"constant", "logistic regression"} <= set(run.baselines)
    assert set(run.baselines["constant"]) >= {"accuracy"}
    assert set(run.test) == set(run.intervals) & set(run.test) and run.test["accuracy"] > 0.5
    assert 0 < run.score <= 1
    assert run.is_complete and not run.is_interrupted
    assert repr(run) == f"<Run '{run.path}': 2 trials, val_accuracy {run.score:.4f}>"


def test_the_model_is_that_of_keras_and_says_what_the_export_says(run, toy):
    model = run.model()
    assert isinstance(model, keras.Model)
    np.testing.assert_allclose(model.predict(toy.x, verbose=0).argmax(1), run.exported.predict(toy.x).classes)


def test_a_run_can_be_pickled_and_compared(run):
    assert pickle.loads(pickle.dumps(run)) == run == cnn_tuner.Run(str(run.path))
    assert len({run, cnn_tuner.load(run.path)}) == 1
    assert run != cnn_tuner.load


def test_the_report_is_written_where_it_is_wanted(run, tmp_path):
    assert run.report(tmp_path / "page.html") == tmp_path / "page.html"
    with pytest.raises(UsageError, match=r"^path: must be a file in a folder that exists, got "):
        run.report(tmp_path / "nowhere" / "page.html")


def test_images_that_were_in_memory_are_to_be_handed_over_again(run, toy):
    told = rf"its images were given in Python and are not kept; .*: cnn_tuner.load\('{run.path}'\).resume\(data=...\)$"
    for asks in (
        run.evaluate,
        run.export,
        lambda: run.extend(trials=1),
        lambda: run.resume(max_trials=9, accept_changes=True),
    ):
        with pytest.raises(DataError, match=told):
            asks()
    assert run.evaluate(toy.data)["test"] == pytest.approx(run.test)
    x, y = toy.data["train"]
    with pytest.raises(DataError, match=r"^memory: not what shared was trained on: "):
        run.evaluate({**toy.data, "train": (x, np.roll(y, 1))})


def test_the_command_line_says_so_too(run, cnn_tuner):
    code, _, err = cnn_tuner("evaluate", "shared", "--runs", run.path.parent)
    assert code == 3 and "its images were given in Python and are not kept" in err


def test_messages_of_the_api_name_keywords(run):
    with pytest.raises(UsageError, match=r"^max_trials: must be a whole number >= 1, got 0$"):
        run.resume(max_trials=0)
    with pytest.raises(UsageError, match=r"^trial: shared has no such trial: 9; choices: 1 to 2$"):
        run.export(trial=9)
    with pytest.raises(UsageError, match=r"^formats: unknown: 'zip'; choices: "):
        run.export(formats=["zip"])
    with pytest.raises(UsageError, match=r"^extend: how much more\? name one of budget and trials, "):
        run.extend()
    with pytest.raises(
        UsageError, match=r"is complete, nothing is left to do; cnn-tuner extend shared --budget 10m or"
    ):
        run.resume()


def test_a_run_that_has_only_begun(tmp_path):
    store = finished_runs.begun_run(tmp_path)
    found = cnn_tuner.load(store.folder)
    assert (found.best, found.score, found.trials) == (None, None, [])
    assert (found.test, found.intervals, found.baselines) == ({}, {}, {})
    assert not found.is_complete and found.is_interrupted
    assert repr(found) == f"<Run '{store.folder}': 0 trials, not complete>"
    with pytest.raises(
        UsageError, match=r"toy: has no model yet; resume\(\) goes on, export\(\) trains the best so far$"
    ):
        found.model()
    with pytest.raises(UsageError, match=r"toy: has no export yet; make one with export\(\)$"):
        _ = found.exported
    finished_runs.add_trials(store, 3)
    assert found.best == store.best_trial() and found.score == found.best.score
    with store.at_work("", {}):
        assert not found.is_interrupted


def test_its_picture_in_a_notebook_is_text_of_anybody(tmp_path):
    found = cnn_tuner.load(finished_runs.finished_run(tmp_path).folder)._repr_html_()
    for text in ("toy", "test accuracy", "95 % interval", "export/toy/1"):
        assert text in found
    hostile = tmp_path / "other"
    hostile.mkdir()
    store = finished_runs.finished_run(hostile, names=finished_runs.hostile_names("multiclass"))
    data = store.config.data.model_copy(update={"name": finished_runs.SCRIPT})
    store.reconfigure(store.config.model_copy(update={"data": data}))
    told = cnn_tuner.load(store.folder)._repr_html_()
    assert "&lt;script&gt;" in told and "<script" not in told


def test_trials_as_a_table_need_pandas(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"^to_pandas: needs pandas; install it with pip install pandas$"):
        run.trials.to_pandas()


def test_trials_as_a_table(run):
    pytest.importorskip("pandas")
    table = run.trials.to_pandas()
    assert list(table.columns[:7]) == ["trial", "status", "score", "epochs", "params", "macs", "seconds"]
    assert list(table["trial"]) == [1, 2] and "block_1.filters" in table
    assert list(type(run.trials)().to_pandas().columns) == list(table.columns[:7])


def test_what_is_no_folder_of_ours(tmp_path):
    with pytest.raises(UsageError, match=r"neither a run nor an export; name the folder of one, such as runs/"):
        cnn_tuner.load(tmp_path)
    with pytest.raises(UsageError, match=r"no such run; choices: none yet$"):
        cnn_tuner.Run(tmp_path / "none")
    with pytest.raises(UsageError, match=r"no SavedModel here; name the folder that holds saved_model.pb$"):
        cnn_tuner.Export(tmp_path)


def test_a_folder_of_versions_is_its_newest(run):
    for folder in (run.exported.path, run.exported.path.parent, str(run.exported.path)):
        assert cnn_tuner.load(folder) == run.exported
    assert run.exported.class_names == NAMES["multiclass"]
