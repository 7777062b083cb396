"""What every executor does, and what worker processes do, once more with workers that a fork server begins."""

from __future__ import annotations

import os
import sys

import pytest
from executors import test_contract
from executors.test_contract import SETTINGS, clock, make, next_event, started  # noqa: F401 - fixtures

from cnn_tuner.executors import forking
from cnn_tuner.runs.machine import Workers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="workers are begun by a fork server on Linux only"),
]
# These look at the processes that the driver begins, which the workers are not: test_forking.py has its own of them.
BEGUN_BY_THE_DRIVER = {
    "test_a_worker_that_dies_between_jobs_is_replaced",
    "test_a_worker_that_cannot_start_ends_the_search",
    "test_a_worker_that_does_not_leave_is_ended",
    "test_nothing_is_left_of_an_executor_that_could_not_be_made",
    "test_a_worker_lives_from_job_to_job",
    "test_workers_are_gone_when_the_driver_is_killed",
}
globals().update(
    {
        name: test
        for name, test in vars(test_contract).items()
        if name.startswith("test_") and name not in BEGUN_BY_THE_DRIVER
    }
)


@pytest.fixture(autouse=True)
def served(monkeypatch):
    begun, fork = [], forking.ForkServer.fork

    def forked(*arguments):
        begun.append(fork(*arguments))
        return begun[-1]

    monkeypatch.setattr(forking.ForkServer, "fork", forked)
    monkeypatch.setattr(forking.machine, "may_have_gpu", lambda: False)
    with forking.serving(Workers(), SETTINGS.trainer):
        while forking.current().loading_seconds is None:  # or a worker would seem to hang that waits for it
            os.sched_yield()
        yield
    assert None not in begun, "a worker that begins by itself says nothing here"


@pytest.fixture
def executor(make):  # noqa: F811
    return make("processes")
