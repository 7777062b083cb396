"""Every executor: events in order, stop, failures that are not the trial's, nothing left running."""

from __future__ import annotations

import threading

import pytest
from toys import toy_part

from cnn_tuner import training
from cnn_tuner.errors import SearchError
from cnn_tuner.executors.inline import InlineExecutor
from cnn_tuner.records import Epoch, EpochEnded, Job, JobDone, Result
from cnn_tuner.tasks import Objective, Output

JOB = Job(3, {}, (8, 8, 1), Output("multiclass", 4), Objective("val_accuracy", "max"), 2, 0, "state.npz")
EPOCH = Epoch(1, {"val_accuracy": 0.5}, 0.1)


@pytest.fixture
def executor():
    part = toy_part("multiclass", 8, 0)
    executor = InlineExecutor(part, part)
    yield executor
    executor.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("trial-")]


def simulate(monkeypatch, train):
    monkeypatch.setattr(training, "train", train)


def test_epochs_come_before_the_result(executor, monkeypatch):
    result = Result(3, "completed", 0.5, 1, (EPOCH,), 0.1)

    def train(job, data, on_epoch, should_stop):
        on_epoch(EPOCH)
        return result

    simulate(monkeypatch, train)
    for _ in range(2):  # and it can be used again
        executor.submit(JOB)
        assert executor.next_event() == EpochEnded(3, 1, EPOCH)
        assert executor.next_event() == JobDone(result)


def test_stop_reaches_the_job_and_its_result_still_comes(executor, monkeypatch):
    started = threading.Event()

    def train(job, data, on_epoch, should_stop):
        started.set()
        while not should_stop():
            pass
        return Result(job.trial, "stopped", None, None, (), 0.1)

    simulate(monkeypatch, train)
    executor.submit(JOB)
    started.wait()
    executor.stop()
    assert executor.next_event().result.status == "stopped"


def test_a_stop_before_the_job_does_not_stop_it(executor, monkeypatch):
    executor.stop()
    simulate(monkeypatch, lambda job, data, on_epoch, should_stop: should_stop())
    executor.submit(JOB)
    assert executor.next_event() == JobDone(False)


def test_a_fault_that_is_not_the_trials_is_raised_in_the_search(executor, monkeypatch):
    def train(*_, **__):
        raise OSError(28, "No space left on device")

    simulate(monkeypatch, train)
    executor.submit(JOB)
    with pytest.raises(OSError, match="No space left"):
        executor.next_event()


def test_no_more_jobs_than_slots(executor, monkeypatch):
    simulate(monkeypatch, lambda job, data, on_epoch, should_stop: None)
    executor.submit(JOB)
    with pytest.raises(SearchError, match=r"^trial 3: submitted while another job is under way$"):
        executor.submit(JOB)
    executor.next_event()
