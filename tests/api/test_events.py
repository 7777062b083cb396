"""Callbacks: what they are told, how they stop a run, and what becomes of what they raise."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from rich.console import Console
from toys import FormulaExecutor, NoLogs, toy_dataset, toy_run

import cnn_tuner
from cnn_tuner.api import running
from cnn_tuner.api.events import Telling
from cnn_tuner.errors import UsageError
from cnn_tuner.search.loop import Search
from cnn_tuner.search.observer import Observer, Silent
from cnn_tuner.search.suggesting import make_oracle
from cnn_tuner.terminal.reporters import Reporter


class Noting(cnn_tuner.Callback):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    def on_run_begin(self, run):
        self.told.append(("run", run.name))

    def on_trial_begin(self, trial, epochs):
        self.told.append(("begin", (trial.number, epochs)))

    def on_epoch_end(self, trial, epoch):
        self.told.append(("epoch", (trial, epoch.number)))

    def on_trial_end(self, trial, best):
        self.told.append(("end", (trial.number, best.number)))

    def on_trial_lost(self, trial, reason):
        self.told.append(("lost", (trial, reason)))

    def on_phase(self, text):
        self.told.append(("phase", text))

    def on_time_left(self, seconds):
        self.told.append(("left", seconds))

    def on_run_end(self, run):
        self.told.append(("done", run.name))


class FormulaSession:
    """A session whose trials come from a formula: the search alone."""

    def __init__(self, folder, observer: Observer) -> None:
        self.store, self.observer = toy_run(folder), observer
        executor = FormulaExecutor(loses={2: 1})
        self.search = Search(self.store, make_oracle(self.store.config), executor, NoLogs(), observer)
        self.has_begun, self.is_stopping = True, False

    def workers_loading(self):
        return nullcontext()

    def request_stop(self) -> None:
        self.is_stopping = True
        self.search.request_stop()

    def run(self):
        self.observer.run_opened(self.store, toy_dataset())
        self.search.run()
        self.observer.phase("evaluating", 0)
        return SimpleNamespace(folder=self.store.folder)


def searched(folder, *callbacks) -> None:
    telling = Telling(Reporter(Console(quiet=True)), callbacks, cnn_tuner.Run)
    running.run(lambda observer: FormulaSession(folder, observer), telling)


def test_an_adapter_knows_every_event_of_an_observer():
    assert {name for name in vars(Silent) if not name.startswith("_")} <= set(dir(Telling))


def test_callbacks_are_told_what_happens_in_its_order(tmp_path):
    first, second = Noting(), Noting()
    searched(tmp_path, first, second)
    assert first.told == second.told
    told = [each for each in first.told if each[0] != "left"]
    assert told[:6] == [
        ("run", "toy"),
        ("begin", (1, 3)),
        ("epoch", (1, 1)),
        ("epoch", (1, 2)),
        ("epoch", (1, 3)),
        ("end", (1, 1)),
    ]
    assert ("lost", (2, "the machine went away")) in told
    assert [number for name, number in told if name == "begin"][:2] == [(1, 3), (2, 3)]
    assert told[-2:] == [("phase", "evaluating"), ("done", "toy")]


def test_a_callback_can_stop_a_run(tmp_path):
    class Enough(Noting):
        def on_trial_end(self, trial, best):
            super().on_trial_end(trial, best)
            self.stop()

    noting = Enough()
    searched(tmp_path, noting)
    assert [each for each in noting.told if each[0] == "end"] == [("end", (1, 1))]
    assert noting.told[-1] == ("done", "toy")
    noting.stop()  # nothing is under way


@pytest.mark.parametrize("kind", [ValueError, OSError, UsageError])
def test_what_a_callback_raises_ends_the_run_and_reaches_the_caller(kind, tmp_path):
    class Fails(Noting):
        def on_trial_end(self, trial, best):
            raise kind("broken --on-purpose")

    noting = Noting()
    with pytest.raises(kind, match=r"^broken --on-purpose$"):
        searched(tmp_path, noting, Fails())
    assert noting.told[-1] == ("end", (1, 1)), "nobody is told that the run is done"
    run = cnn_tuner.load(tmp_path / "toy")
    assert len(run.trials) == 1 and run.is_interrupted


@pytest.mark.slow
def test_a_run_that_a_callback_ended_can_be_gone_on_with(toy, inline, tmp_path):
    class Fails(cnn_tuner.Callback):
        def on_trial_end(self, trial, best):
            raise OSError(28, "as if the disk were full")

    short = {"max_trials": 2, "max_epochs": 2, "finalists": 1, "final_seeds": 1, "runs": tmp_path, "name": "one"}
    with pytest.raises(OSError, match="as if the disk were full"):
        cnn_tuner.tune(toy.data, toy.space, callbacks=[Fails()], verbose=0, **short)
    run = cnn_tuner.load(tmp_path / "one").resume(data=toy.data, verbose=0)
    assert run.is_complete and [trial.status for trial in run.trials] == ["completed"] * 2


def test_what_is_no_callback(toy, tmp_path):
    with pytest.raises(UsageError, match=r"^callbacks: must be objects of classes of cnn_tuner.Callback, got <class "):
        cnn_tuner.tune(toy.data, toy.space, runs=tmp_path / "runs", callbacks=[Noting], verbose=0)
    assert not (tmp_path / "runs").exists()
