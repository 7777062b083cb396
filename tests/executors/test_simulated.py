"""The simulated executor: events in the order of virtual time, stop, many slots."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from cnn_tuner.errors import SearchError
from cnn_tuner.executors.simulated import Simulated, SimulatedExecutor
from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.runs.records import Epoch, EpochEnded, Job, JobDone, JobLost

ACCURACY, LOSS = Objective("val_accuracy", "max"), Objective("val_loss", "min")


def job(number, seconds=1.0, epochs=2, objective=ACCURACY, **values):
    output = Output("multiclass", 4)
    return Job(number, number, {"seconds": seconds} | values, (8, 8, 1), output, objective, epochs, 0, "state.npz")


def outcome(job):
    """Epochs of the job's own length; the second is the best, and equals the fourth."""
    metrics = [{"val_accuracy": n % 2 * -0.1 + 0.5, "val_loss": n % 2 * 0.1} for n in range(job.epochs + 1)]
    epochs = (Epoch(n, metrics[n], job.values["seconds"]) for n in range(job.initial_epoch + 1, job.epochs + 1))
    return Simulated(tuple(epochs), job.values.get("failure", ""), "lost" in job.values)


def executor_with(*jobs, slots=2):
    executor = SimulatedExecutor(slots, outcome)
    for each in jobs:
        executor.submit(each)
    return executor


def told(executor, events):
    """The next events as (time, job, epoch or status)."""
    found = []
    for _ in range(events):
        match executor.next_event():
            case EpochEnded(number, _, epoch):
                found.append((executor.now, number, epoch.number))
            case JobDone(result):
                found.append((executor.now, result.job, result.status))
    return found


def test_events_come_in_the_order_of_virtual_time():
    executor = executor_with(job(1, seconds=3.0), job(2, seconds=2.0))
    assert told(executor, 4) == [(2.0, 2, 1), (3.0, 1, 1), (4.0, 2, 2), (4.0, 2, "completed")]
    executor.submit(job(3, seconds=1.5, epochs=1))
    assert told(executor, 4) == [(5.5, 3, 1), (5.5, 3, "completed"), (6.0, 1, 2), (6.0, 1, "completed")]
    assert executor.busy_seconds == 4.0 + 1.5 + 6.0


@pytest.mark.parametrize("objective", [ACCURACY, LOSS])
def test_the_score_is_that_of_the_last_epoch(objective):
    executor = executor_with(replace(job(5, epochs=4, objective=objective), attempt=2))
    *told, done = [executor.next_event() for _ in range(5)]
    result, score = done.result, told[-1].epoch.metrics[objective.name]
    assert (result.job, result.attempt, result.score, result.best_epoch) == (5, 2, score, 4)
    assert ([epoch.number for epoch in result.epochs], result.seconds) == ([1, 2, 3, 4], 4.0)


def test_a_job_that_goes_on_begins_after_its_initial_epoch():
    executor = executor_with(replace(job(1, epochs=3), initial_epoch=2))
    assert told(executor, 2) == [(1.0, 1, 3), (1.0, 1, "completed")]


def test_a_failure_and_a_loss_come_after_their_epochs():
    executor = executor_with(job(1, failure="it broke"), job(2, lost=True))
    events = [executor.next_event() for _ in range(6)]
    assert [event.epoch.number for event in events[:4]] == [1, 1, 2, 2]
    result = events[4].result
    assert (result.status, result.score, result.epochs, result.message) == ("failed", None, (), "it broke")
    assert events[5] == JobLost(2, 1, "the machine went away")
    assert executor.busy_seconds == 4.0


def test_stop_ends_what_is_under_way_at_its_last_whole_epoch():
    executor = executor_with(job(1, seconds=3.0), job(2, seconds=2.0), job(3, seconds=9.0), slots=3)
    told(executor, 2)
    executor.stop()
    results = [executor.next_event().result for _ in range(3)]
    assert [(r.job, r.status, len(r.epochs), r.score, r.seconds) for r in sorted(results, key=lambda r: r.job)] == [
        (1, "stopped", 1, 0.4, 3.0),
        (2, "stopped", 1, 0.4, 3.0),
        (3, "stopped", 0, None, 3.0),
    ]
    assert (executor.now, executor.busy_seconds) == (3.0, 9.0)


def test_stop_leaves_alone_what_is_trained_and_what_comes_later():
    executor = executor_with(job(1, epochs=1))
    told(executor, 1)
    executor.stop()
    executor.submit(job(2, epochs=1))
    assert told(executor, 3) == [(1.0, 1, "completed"), (2.0, 2, 1), (2.0, 2, "completed")]


def test_waiting_ends_when_its_time_is_over_and_nothing_is_lost():
    executor = executor_with(job(1, seconds=3.0, epochs=1))
    assert [executor.next_event(1.25), executor.now] == [None, 1.25]
    assert [executor.next_event(0.0), executor.now] == [None, 1.25]
    assert executor.next_event(1.75).epoch.number == 1, "what comes at that very time is told"
    assert executor.now == 3.0
    assert isinstance(executor.next_event(0.0), JobDone)
    with pytest.raises(SearchError, match=r"^no job is under way to wait for$"):
        executor.next_event(1.0)


def test_time_that_was_waited_counts_for_what_is_stopped():
    executor = executor_with(job(1, seconds=3.0))
    executor.next_event(2.0)
    executor.stop()
    result = executor.next_event().result
    assert (result.status, result.epochs, result.seconds, executor.now) == ("stopped", (), 2.0, 2.0)


def test_no_more_jobs_than_slots_and_none_to_wait_for():
    executor = executor_with(job(1), slots=1)
    with pytest.raises(SearchError, match=r"^trial 2: submitted while every slot is taken$"):
        executor.submit(job(2))
    executor.close()
    with pytest.raises(SearchError, match=r"^no job is under way to wait for$"):
        executor.next_event()


def test_a_thousand_slots_cost_next_to_nothing():
    slots, jobs, events = 1000, 3000, 0
    executor = SimulatedExecutor(slots, outcome)
    waiting = [job(n, seconds=1 + n * 7919 % 100, epochs=5) for n in range(jobs)]
    for _ in range(slots):
        executor.submit(waiting.pop())
    began, before, ended = time.process_time(), 0.0, 0
    while ended < jobs:
        event = executor.next_event()
        assert executor.now >= before
        before, events = executor.now, events + 1
        if isinstance(event, JobDone):
            ended += 1
            if waiting:
                executor.submit(waiting.pop())
    assert events == jobs * 6
    assert (time.process_time() - began) / events < 1e-4
