"""Every executor: events in order, stop, failures that are not the trial's, nothing left running."""

from __future__ import annotations

import errno
import gc
import importlib.util
import os
import secrets
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import fake_trainers
import pytest

from cnn_tuner.errors import DataError, SearchError, UsageError
from cnn_tuner.executors import handle, memory, processes, registry, worker
from cnn_tuner.executors.base import Settings
from cnn_tuner.executors.inline import InlineExecutor
from cnn_tuner.executors.processes import ProcessExecutor
from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.runs.machine import Cluster
from cnn_tuner.runs.records import EpochEnded, Job, JobDone, JobLost, JobPlaced

SETTINGS = Settings("fake_trainers:open_acting", "data")
MIB = 2**20
TESTS = Path(__file__).parents[1]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells and limits what a process holds")


def job(act, number=7, state_file="state.npz", **values):
    point = {"act": act} | values
    output, objective = Output("multiclass", 4), Objective("val_accuracy", "max")
    return Job(number, 3, point, (8, 8, 1), output, objective, 2, 0, state_file)


@pytest.fixture
def started(monkeypatch):
    """The processes that executors of this test start; all have to have ended, and been waited for, at its end."""
    found = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            found.append(self)

    monkeypatch.setattr(handle.subprocess, "Popen", Recorded)
    return found


@pytest.fixture
def make(started):
    """Makes executors by name, and closes them."""
    made = []

    def create(name="processes", **changes):
        made.append(registry.create(name, replace(SETTINGS, **changes)))
        return made[-1]

    yield create
    for executor in made:
        executor.close()
    assert all(process.returncode is not None for process in started)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("trial-")]


class Clock:
    """A clock of the driver that stands still, or moves a step each time that it is read."""

    now, step = 1000.0, 0.0

    def __call__(self):
        self.now += self.step
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(processes, "monotonic", clock)
    monkeypatch.setattr(handle, "monotonic", clock)
    return clock


def next_event(executor, *seconds):
    """The next one but where a job is trained, which only clusters tell."""
    while isinstance(event := executor.next_event(*seconds), JobPlaced):
        assert event.where
    return event


def until_done(executor):
    """The last event of the only job under way."""
    while isinstance(event := next_event(executor), EpochEnded):
        pass
    return event


def run(executor, *args, **values):
    executor.submit(job(*args, **values))
    return until_done(executor)


def pid_of(event):
    return int(event.epoch.metrics["pid"])


# What every executor does


def reap():
    """Waits for the processes that Ray has ended and does not wait for."""
    for process in [each for each in gc.get_objects() if isinstance(each, subprocess.Popen)]:
        if process.returncode is None:
            process.wait(30)


def one_token():
    """Lets all clusters of this process have one token: Ray reads it once."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture(scope="session")
def ray_of_this_machine():
    """One Ray for all tests: to make it takes seconds."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("make test-cluster installs ray")
    from cnn_tuner.executors.connecting import connect, load_ray

    one_token()
    ray = load_ray(Cluster())
    connect(ray, 2, Cluster())
    yield
    ray.shutdown()
    reap()


@pytest.fixture(params=sorted(registry.EXECUTORS))
def executor(request):
    if request.param == "ray":
        request.getfixturevalue("ray_of_this_machine")  # first, as its processes are not the test's
    return request.getfixturevalue("make")(request.param)


def test_epochs_come_before_the_result(executor):
    for number in (7, 8):  # and it can be used again
        executor.submit(replace(job("train", number), attempt=2))
        events = [next_event(executor) for _ in range(3)]
        assert [(e.job, e.attempt, e.epoch.number) for e in events[:2]] == [(number, 2, 1), (number, 2, 2)]
        result = events[2].result
        assert (result.job, result.attempt, result.status, result.score) == (number, 2, "completed", 0.5)


def test_a_failure_of_the_trial_is_a_result(executor):
    event = run(executor, "fail")
    assert (event.result.status, event.result.message) == ("failed", "the loss was no longer finite")


def test_stop_reaches_the_job_and_its_result_still_comes(executor):
    executor.submit(job("until_stopped"))
    assert isinstance(next_event(executor), EpochEnded)
    executor.stop()
    assert next_event(executor).result.status == "stopped"
    assert run(executor, "is_stopped", 8).result.status == "completed"


def test_a_stop_at_once_is_not_lost(executor):
    executor.submit(job("until_stopped"))
    executor.stop()
    assert until_done(executor).result.status == "stopped"


def test_a_stop_before_the_job_does_not_stop_it(executor):
    executor.stop()
    assert run(executor, "is_stopped").result.status == "completed"


def test_a_full_disk_is_raised_in_the_search(executor):
    executor.submit(job("full_disk"))
    with pytest.raises(OSError, match="No space left") as caught:
        next_event(executor)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "trials/state.npz")
    assert isinstance(run(executor, "train"), JobDone)


def test_an_error_of_this_package_keeps_its_class(executor):
    executor.submit(job("wrong_data"))
    with pytest.raises(DataError, match=r"^digits: no class has images$"):
        next_event(executor)


def test_a_program_error_is_raised_in_the_search(executor):
    executor.submit(job("program_error"))
    with pytest.raises((KeyError, SearchError), match="filters"):
        next_event(executor)


def test_no_more_jobs_than_slots(executor):
    executor.submit(job("train"))
    with pytest.raises(SearchError, match=r"^trial 3: submitted while every slot is taken$"):
        executor.submit(job("train", 8))
    until_done(executor)


def test_there_is_nothing_to_wait_for_without_a_job(executor):
    with pytest.raises(SearchError, match=r"^no job is under way to wait for$"):
        next_event(executor)
    run(executor, "train")
    with pytest.raises(SearchError, match=r"^no job is under way to wait for$"):
        next_event(executor)


def test_waiting_ends_when_its_time_is_over_and_nothing_is_lost(executor):
    executor.submit(job("until_stopped"))
    assert next_event(executor, 600.0).epoch.number == 1
    assert [next_event(executor, 0.0), next_event(executor, 0.001)] == [None, None], "under way, and silent"
    executor.stop()
    ended = until_done(executor)
    assert (ended.result.status, len(ended.result.epochs)) == ("stopped", 1)
    assert run(executor, "train", number=8).result.job == 8


def test_asking_again_and_again_hears_every_event_once_in_its_order(executor):
    executor.submit(job("train"))
    events = []
    while not events or isinstance(events[-1], EpochEnded):
        event = next_event(executor, 0.002)
        events += [] if event is None else [event]
    assert [event.epoch.number for event in events[:-1]] == [1, 2]
    assert events[-1].result.status == "completed"


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_there_is_nothing_to_wait_for_without_a_job_for_any_time(executor, seconds):
    with pytest.raises(SearchError, match=r"^no job is under way to wait for$"):
        next_event(executor, seconds)


def test_close_and_stop_can_come_at_any_time(executor):
    executor.submit(job("until_stopped"))
    next_event(executor)
    executor.close()
    executor.close()
    executor.stop()


# Which executors there are


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(UsageError, match=r"^--executor: unknown: 'dask'; choices: inline, processes, ray$"):
        registry.create("dask", SETTINGS)


def test_what_cannot_be_honoured_is_refused():
    with pytest.raises(
        UsageError, match=r"^executor inline: must have 1 slot, got 2; the executor processes has more$"
    ):
        InlineExecutor(replace(SETTINGS, slots=2))
    with pytest.raises(UsageError, match=r"^executor processes: slots must be at least 1, got 0$"):
        ProcessExecutor(replace(SETTINGS, slots=0))
    with pytest.raises(UsageError, match=r"^executor processes: 2 slots need as many gpus, got 1$"):
        ProcessExecutor(replace(SETTINGS, slots=2, gpus=("0",)))


def test_the_driver_loads_nothing_heavy():
    names = ", ".join(f"cnn_tuner.executors.{name}" for name in ("inline", "processes", "worker", "simulated"))
    code = f"import sys, {names}; sys.exit(bool({{'tensorflow', 'keras', 'numpy'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=TESTS.parent, check=False).returncode == 0


# Worker processes that end before they should


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("killed", "its process was killed by signal 9 (SIGKILL), as the system does when memory runs out"),
        ("segmentation_fault", "its process was killed by signal 11 (SIGSEGV)"),
        ("terminated", "its process was killed by signal 15 (SIGTERM)"),
        ("exit", "its process ended with exit code 7: said on the way out"),
        ("exit_silently", "its process ended with exit code 8"),
    ],
)
def test_a_worker_that_dies_costs_its_job_only(make, act, reason):
    executor = make()
    for number in (7, 8):  # as often as it happens
        assert run(executor, act, number) == JobLost(number, 1, reason)
    assert run(executor, "train").result.status == "completed"


def test_a_lost_job_can_be_run_again(make):
    executor = make()
    lost = run(executor, "killed_once")
    assert isinstance(lost, JobLost)
    executor.submit(replace(job("killed_once"), attempt=lost.attempt + 1))
    assert next_event(executor).attempt == 2
    assert next_event(executor).result.attempt == 2


def test_the_other_slot_goes_on_when_a_worker_dies(make):
    executor = make(slots=2)
    executor.submit(job("until_stopped", 7))
    assert next_event(executor).job == 7
    executor.submit(job("killed", 8))
    assert next_event(executor).job == 8
    executor.submit(job("train", 9))
    assert until_done(executor).result.job == 9
    executor.stop()
    assert until_done(executor).result.job == 7


def test_a_worker_that_dies_between_jobs_is_replaced(make, started):
    executor = make()
    run(executor, "train")
    started[0].kill()
    os.waitid(os.P_PID, started[0].pid, os.WEXITED | os.WNOWAIT)
    assert isinstance(run(executor, "train"), JobLost)  # that it had not begun cannot be known
    assert isinstance(run(executor, "train"), JobDone)


def test_a_job_that_had_not_begun_outlives_its_worker(make, tmp_path):
    executor = make(trainer="fake_trainers:open_once", folder=str(tmp_path))
    assert isinstance(run(executor, "train"), JobDone)


def test_a_stop_outlives_a_worker_that_had_not_begun(make, tmp_path):
    executor = make(trainer="fake_trainers:open_once", folder=str(tmp_path))
    executor.submit(job("until_stopped"))
    executor.stop()
    assert until_done(executor).result.status == "stopped"


@pytest.mark.parametrize(
    ("trainer", "line"),
    [
        ("nowhere:open", "ModuleNotFoundError: No module named 'nowhere'"),
        ("fake_trainers:nothing", "AttributeError: module 'fake_trainers' has no attribute 'nothing'"),
        ("fake_trainers:open_broken", "RuntimeError: no data in this folder"),
    ],
)
def test_a_worker_that_cannot_start_ends_the_search(make, started, trainer, line):
    executor = make(trainer=trainer)
    executor.submit(job("train"))
    with pytest.raises(SearchError) as caught:
        next_event(executor)
    assert str(caught.value) == f"a worker process cannot start: {line}"
    assert len(started) == processes.MAX_STARTS + 1


def test_a_worker_that_hangs_at_its_start_ends_the_search(make):
    executor = make(trainer="fake_trainers:open_endless", hang_seconds=0.2)
    executor.submit(job("train"))
    with pytest.raises(SearchError, match=r"^a worker process cannot start: no sign of progress for 0.2 s$"):
        next_event(executor)


def test_nothing_is_left_of_an_executor_that_could_not_be_made(started, monkeypatch):
    made = handle.subprocess.Popen

    def once(*args, **kwargs):
        if started:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return made(*args, **kwargs)

    monkeypatch.setattr(handle.subprocess, "Popen", once)
    with pytest.raises(OSError, match="temporarily unavailable"):
        ProcessExecutor(replace(SETTINGS, slots=2))
    assert [process.returncode is None for process in started] == [False]


# Worker processes that do not end when they should


def test_a_worker_without_a_sign_of_progress_is_ended(make, clock):
    executor = make()
    executor.submit(job("hang"))
    hung = pid_of(next_event(executor))
    clock.now += 300
    assert next_event(executor) == JobLost(7, 1, "no sign of progress for 300 s")
    executor.submit(job("train", 8))
    assert pid_of(next_event(executor)) != hung


def test_what_was_said_while_the_driver_was_away_counts(make, clock, tmp_path):
    executor = make()
    executor.submit(job("hang_later", state_file=str(tmp_path / "sent")))
    assert next_event(executor).epoch.number == 1
    while not (tmp_path / "sent").exists():
        os.sched_yield()
    clock.now += 300
    assert next_event(executor).epoch.number == 2
    clock.now += 300
    assert isinstance(next_event(executor), JobLost)


def test_signs_of_progress_keep_a_worker(make, clock):
    executor = make(hang_seconds=0.5)
    executor.submit(job("slow"))
    next_event(executor)
    began, clock.step = clock.now, 0.05
    assert isinstance(next_event(executor), JobDone)
    assert clock.now - began > 0.5


def test_a_sign_is_sent_when_training_asks_and_not_all_the_time():
    ours, theirs = Pipe()
    with ours, theirs:
        for hang_seconds, signs in ((300.0, 0), (0.0, 1)):
            training = worker._Training(
                theirs, replace(SETTINGS, hang_seconds=hang_seconds), job("train"), threading.Event()
            )
            training.run(lambda job, on_epoch, should_stop: fake_trainers.result(job, str(should_stop())))
            assert [ours.recv() for _ in range(signs)] == [worker.ALIVE] * signs
            assert not ours.poll()


def test_a_job_that_goes_on_after_a_stop_is_ended(make, clock, tmp_path):
    executor = make()
    executor.submit(job("ignore_stop", state_file=str(tmp_path / "go on")))
    next_event(executor)
    executor.stop()
    assert next_event(executor).epoch.number == 2
    clock.now += 200
    (tmp_path / "go on").touch()
    assert next_event(executor).epoch.number == 3
    clock.now += 100
    assert next_event(executor) == JobLost(7, 1, "it went on for 300 s after it was asked to stop")


def test_a_worker_that_does_not_leave_is_ended(make, started, monkeypatch):
    monkeypatch.setattr(processes, "LEAVE_SECONDS", 0.1)
    executor = make()
    run(executor, "train")
    started[0].send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, started[0].pid, os.WSTOPPED | os.WNOWAIT)
    executor.close()
    assert started[0].returncode == -signal.SIGKILL


DRIVER = """
from cnn_tuner.executors.base import Settings
from cnn_tuner.executors.processes import ProcessExecutor
from cnn_tuner.runs.records import EpochEnded
from executors.test_contract import job, pid_of

executor = ProcessExecutor(Settings("fake_trainers:open_acting", "data", slots=3))
for number, act in enumerate(("until_stopped", "hang", "train")):
    executor.submit(job(act, number))
pids = set()
while len(pids) < 3:
    event = executor.next_event()
    pids |= {pid_of(event)} if isinstance(event, EpochEnded) else set()
print(*pids, flush=True)
while True:
    executor.next_event()
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux tells of the end of a process of another")
def test_workers_are_gone_when_the_driver_is_killed(tmp_path):
    script = tmp_path / "driver.py"  # its main program has no guard: no worker may import it
    script.write_text(DRIVER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(TESTS.parent), str(TESTS)))}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment, text=True) as driver:
        pids = [int(pid) for pid in driver.stdout.readline().split()]
        ends = [os.pidfd_open(pid) for pid in pids]
        driver.kill()
    assert len(pids) == 3
    for end in ends:
        assert select.select([end], [], [], 1.0)[0]
        os.close(end)


# What passes between driver and workers


class StopsWhenSent(dict):
    """Values in the middle of whose crossing somebody asks for a stop."""

    def __reduce__(self):
        self.stop()
        return dict, (dict(self),)


def test_a_stop_in_the_middle_of_submit_is_not_lost(make):
    executor = make()
    values = StopsWhenSent(act="until_stopped")
    values.stop = executor.stop
    executor.submit(replace(job("until_stopped"), values=values))
    assert until_done(executor).result.status == "stopped"


def test_a_stop_from_a_signal_handler_wakes_the_driver(make):
    executor = make()
    run(executor, "train")
    before, began = signal.signal(signal.SIGUSR1, lambda *_: executor.stop()), time.monotonic()
    try:
        assert run(executor, "stop_by_signal", driver=os.getpid()).result.status == "stopped"
        assert time.monotonic() - began < SETTINGS.hang_seconds / worker.SIGNS  # before a sign of life would have
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_stop_reaches_all_jobs_under_way_and_no_later_one(make):
    executor = make(slots=3)
    for number in (1, 2):
        executor.submit(job("until_stopped", number))
    executor.stop()
    executor.submit(job("is_stopped", 3))
    results = [until_done(executor).result for _ in range(3)]
    assert {result.job: result.status for result in results} == {1: "stopped", 2: "stopped", 3: "completed"}


def test_jobs_are_trained_at_the_same_time(make, tmp_path):
    executor = make(slots=2)
    files = [str(tmp_path / name) for name in ("a", "b")]
    for number, file in enumerate(files):
        executor.submit(job("meet", number, file, files=":".join(files)))
    assert {until_done(executor).result.job for _ in files} == {0, 1}


def test_a_job_goes_to_the_worker_that_trained_its_trial_last(make, tmp_path):
    executor = make(slots=2)
    files = [str(tmp_path / name) for name in ("a", "b")]
    for number, file in enumerate(files):  # at the same time, so that each worker trains one
        executor.submit(replace(job("meet", number, file, files=":".join(files)), trial=number))
    for _ in files:
        until_done(executor)
    pids = {}
    for number, trial in enumerate((1, 0, 0, 1), 2):
        executor.submit(replace(job("train", number), trial=trial))
        pids.setdefault(trial, set()).add(pid_of(next_event(executor)))
        until_done(executor)
    assert len(pids[0]) == len(pids[1]) == 1
    assert pids[0] != pids[1]


def test_a_worker_lives_from_job_to_job(make):
    executor = make()
    executor.submit(job("train"))
    first = next_event(executor)
    until_done(executor)
    executor.submit(job("train", 8))
    assert pid_of(next_event(executor)) == pid_of(first) != os.getpid()
    assert first.epoch.metrics["driver"] == os.getpid()


def test_a_program_error_names_the_trial_and_shows_where_it_was_raised(make):
    executor = make()
    executor.submit(job("program_error"))
    with pytest.raises(SearchError, match=r"^trial 3: KeyError: 'filters'$") as caught:
        next_event(executor)
    assert 'return {}["filters"]' in str(caught.value.__cause__)
    assert "in a worker process" in str(caught.value.__cause__)


def test_an_interrupt_from_the_keyboard_is_the_drivers_to_answer(make):
    assert run(make(), "interrupted").result.status == "completed"


def test_each_slot_has_its_gpus(make, tmp_path):
    executor = make(slots=2, gpus=("3", "1,5"))
    for number in (1, 2):
        executor.submit(job("visible_gpus", number))
    assert {until_done(executor).result.message for _ in (1, 2)} == {"3", "1,5"}


def test_what_a_worker_leaves_behind_goes_with_the_folder_of_the_data(make, tmp_path):
    left = Path(run(make(folder=str(tmp_path)), "temporary").result.message)
    assert left.parent == tmp_path and left.is_file()


def test_what_workers_print_does_not_grow_with_the_search(make):
    executor = make()
    assert [run(executor, "chatter").result.message for _ in range(3)] == ["0"] * 3


# Memory


@on_linux
def test_the_peak_is_that_of_the_job(make):
    executor = make()
    peaks = [run(executor, "use", mib=mib).result.peak_bytes for mib in (0, 96, 0)]
    assert peaks[0] < 64 * MIB < 96 * MIB < peaks[1] < 192 * MIB
    assert peaks[2] < 64 * MIB


@on_linux
def test_a_worker_that_keeps_more_and_more_is_replaced(make, monkeypatch):
    monkeypatch.setattr(processes, "RECYCLE_BYTES", 24 * MIB)
    executor = make()
    pids = []
    for _ in range(3):
        executor.submit(job("keep", mib=32))
        pids.append(pid_of(next_event(executor)))
        assert isinstance(until_done(executor), JobDone)
    assert pids[0] == pids[1] != pids[2]  # what the first job left is what workers have


@on_linux
def test_a_worker_that_keeps_half_of_what_it_may_take_is_replaced(make):
    executor = make(memory_bytes=128 * MIB)
    for mib, workers in ((16, 1), (80, 2)):
        pids = set()
        for _ in range(2):
            executor.submit(job("keep", mib=mib))
            pids.add(pid_of(next_event(executor)))
            assert isinstance(until_done(executor), JobDone)
        assert len(pids) == workers


@on_linux
def test_more_than_a_worker_may_take_is_refused_inside_it(make):
    executor = make(memory_bytes=128 * MIB)
    statuses = [run(executor, "reserve", mib=mib).result.status for mib in (64, 256, 64)]
    assert statuses == ["completed", "failed", "completed"]


def test_a_crash_under_a_limit_is_told_with_the_limit(make):
    lost = run(make(memory_bytes=128 * MIB), "segmentation_fault")
    where = "its process was killed by signal 11 (SIGSEGV)"
    assert lost.reason == f"{where}, perhaps for want of memory: it may take 128 MiB"


def test_memory_is_told_in_bytes():
    block = bytearray(b"x") * (64 * MIB)
    assert 64 * MIB < memory.resident_bytes() <= memory.peak_bytes()
    assert len(block) == 64 * MIB


def test_memory_is_told_without_proc(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_SELF", tmp_path / "missing")
    memory.reset_peak()
    memory.limit(1)
    assert MIB < memory.resident_bytes() == memory.peak_bytes()
