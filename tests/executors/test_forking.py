"""Workers that a fork server begins: copies of one that has loaded its modules, which end as any worker does."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import toy_dataset

from cnn_tuner.data.shared import shared
from cnn_tuner.errors import SearchError
from cnn_tuner.executors import forking, forkserver, processes, registry
from cnn_tuner.executors.base import Settings
from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.records import EpochEnded, Job, JobDone, JobLost

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are begun by a fork server on Linux only")
SETTINGS = Settings("fake_trainers:open_acting", "data")
TESTS = Path(__file__).parents[1]


def job(act, number=7, **values):
    point = {"act": act} | values
    return Job(number, 3, point, (8, 8, 1), Output("multiclass", 4), Objective("val_accuracy", "max"), 2, 0, "s.npz")


def run(executor, act):
    """The epochs of a job, and its last event."""
    executor.submit(job(act))
    events = [executor.next_event()]
    while isinstance(events[-1], EpochEnded):
        events.append(executor.next_event())
    return events[:-1], events[-1]


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch):
    monkeypatch.setattr(forking.machine, "may_have_gpu", lambda: False)


@pytest.fixture
def server():
    with forking.serving(Workers(), SETTINGS.trainer):
        yield forking.current()
    assert forking.current() is None


@pytest.fixture
def make(server):
    made = []

    def create(**changes):
        made.append(registry.create("processes", replace(SETTINGS, **changes)))
        return made[-1]

    yield create
    for executor in made:
        executor.close()


def pids_of(executor):
    return [slot.worker._process.pid for slot in executor._slots]


def metrics(events):
    return events[0].epoch.metrics


def test_workers_are_copies_of_the_server(make, server):
    events, last = run(make(), "train")
    assert isinstance(last, JobDone)
    assert metrics(events)["driver"] == server._process.pid, "its parent"
    assert metrics(events)["pid"] not in (server._process.pid, os.getpid())
    assert 0 < server.loading_seconds < 60


def test_there_is_no_server_where_none_can_be(monkeypatch):
    with forking.serving(Workers(executor="inline"), SETTINGS.trainer):
        assert forking.current() is None
    monkeypatch.setattr(forking.machine, "may_have_gpu", lambda: True)
    with forking.serving(Workers(), SETTINGS.trainer):
        assert forking.current() is None


def test_each_thread_has_its_own(server):
    seen = []
    thread = threading.Thread(target=lambda: seen.append(forking.current()))
    thread.start()
    thread.join()
    assert seen == [None]


def test_a_worker_that_dies_between_jobs_is_replaced(make):
    executor = make()
    run(executor, "train")
    [pid] = pids_of(executor)
    os.kill(pid, signal.SIGKILL)
    assert executor._slots[0].worker._process.wait(10) == -signal.SIGKILL
    assert isinstance(run(executor, "train")[1], JobLost)
    assert isinstance(run(executor, "train")[1], JobDone)
    assert pids_of(executor) != [pid]


@pytest.mark.parametrize(
    ("trainer", "line"),
    [
        ("fake_trainers:nothing", "AttributeError: module 'fake_trainers' has no attribute 'nothing'"),
        ("fake_trainers:open_broken", "RuntimeError: no data in this folder"),
    ],
)
def test_a_worker_that_cannot_start_says_why(make, trainer, line):
    executor = make(trainer=trainer)
    executor.submit(job("train"))
    with pytest.raises(SearchError, match=f"^a worker process cannot start: {line}$"):
        executor.next_event()


def test_a_module_that_cannot_be_loaded_is_told_by_a_worker_without_the_server():
    with forking.serving(Workers(), "nowhere:open"):
        executor = registry.create("processes", replace(SETTINGS, trainer="nowhere:open"))
        executor.submit(job("train"))
        with pytest.raises(SearchError, match=r"cannot start: ModuleNotFoundError: No module named 'nowhere'$"):
            executor.next_event()
        executor.close()


def test_a_worker_that_does_not_leave_is_ended(make, monkeypatch):
    monkeypatch.setattr(processes, "LEAVE_SECONDS", 0.1)
    executor = make()
    run(executor, "train")
    [process] = [slot.worker._process for slot in executor._slots]
    end = os.pidfd_open(process.pid)
    os.kill(process.pid, signal.SIGSTOP)
    while ") T " not in Path(f"/proc/{process.pid}/stat").read_text():
        os.sched_yield()
    executor.close()
    assert process.wait() == -signal.SIGKILL
    assert select.select([end], [], [], 10)[0]
    os.close(end)


def test_what_a_server_cannot_begin_is_begun_without_it(make, server):
    server.kill()
    server._process.wait()
    events, last = run(make(), "train")
    assert isinstance(last, JobDone)
    assert metrics(events)["driver"] == os.getpid()


def test_where_a_copy_cannot_be_made_a_worker_begins_by_itself(make, server, monkeypatch):
    """As where the process table is full: the server tells by ending what it was given."""

    def refused(control, message, handles):
        told = os.dup(handles[2])
        os.close(told)
        return len(message)

    monkeypatch.setattr(forking.socket, "send_fds", refused)
    executor = make()
    assert not server.is_spent
    events, last = run(executor, "train")
    assert isinstance(last, JobDone)
    assert (metrics(events)["driver"], server.is_spent) == (os.getpid(), True)


def test_a_fork_that_fails_ends_nothing(monkeypatch):
    def full():
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(os, "fork", full)
    assert forkserver._forked() is None


def test_a_worker_finds_modules_where_the_driver_does_by_then(make, server, tmp_path, monkeypatch):
    (tmp_path / "found_later.py").write_text("from fake_trainers import open_acting")
    monkeypatch.syspath_prepend(str(tmp_path))  # after the server began
    events, last = run(make(trainer="found_later:open_acting"), "train")
    assert isinstance(last, JobDone)
    assert metrics(events)["driver"] == server._process.pid


def test_networks_that_no_connection_holds_are_for_a_worker_that_reads_at_once(make):
    events, last = run(make(networks=bytes(2**20)), "train")
    assert isinstance(last, JobDone)
    assert metrics(events)["driver"] == os.getpid()


def test_copies_draw_other_numbers():
    drawn = []
    with forking.serving(Workers(), "numpy:no trainer"):
        for _ in range(2):
            executor = registry.create("processes", SETTINGS)
            events, _ = run(executor, "draw")
            drawn.append(metrics(events)["drawn"])
            assert metrics(events)["driver"] == forking.current()._process.pid
            executor.close()
    assert drawn[0] != drawn[1]


def test_workers_of_a_server_that_was_killed_end_with_their_job_lost(make, server):
    executor = make(slots=2)
    executor.submit(job("until_stopped", 1))
    executor.next_event()
    server.kill()
    server._process.wait()
    os.kill(pids_of(executor)[0], signal.SIGKILL)
    assert isinstance(executor.next_event(), JobLost)
    assert isinstance(run(executor, "train")[1], JobDone)


def test_an_executor_that_is_closed_before_the_server_is_ready_is_soon_gone(monkeypatch):
    monkeypatch.setattr(processes, "LEAVE_SECONDS", 0.1)
    with forking.serving(Workers(), "endless_module:open"):
        server = forking.current()
        registry.create("processes", SETTINGS).close()
        assert server._process.wait(10) == -signal.SIGKILL


def test_what_is_spared_is_not_loaded_and_can_be_later():
    modules = "import sys; from cnn_tuner.executors.worker import without\n"
    program = modules + (
        "with without(['wave', 'json']):\n"
        "    try:\n        import wave\n    except ImportError:\n        print('hidden')\n"
        "import wave, json\nprint(wave.__name__, json.dumps([]))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split("\n")[:2] == ["hidden", "wave []"]


DRIVER = """
from cnn_tuner.executors import forking
from cnn_tuner.executors.base import Settings
from cnn_tuner.executors.processes import ProcessExecutor
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.records import EpochEnded
from executors.test_forking import job

forking.machine.may_have_gpu = lambda: False
with forking.serving(Workers(), "fake_trainers:open_acting"):
    executor = ProcessExecutor(Settings("fake_trainers:open_acting", "data", slots=3))
    for number, act in enumerate(("until_stopped", "hang", "train")):
        executor.submit(job(act, number))
    pids = {forking.current()._process.pid}
    while len(pids) < 4:
        event = executor.next_event()
        pids |= {int(event.epoch.metrics["pid"])} if isinstance(event, EpochEnded) else set()
    print(*pids, flush=True)
    while True:
        executor.next_event()
"""


def test_all_are_gone_when_the_driver_is_killed(tmp_path):
    script = tmp_path / "driver.py"  # its main program has no guard: no worker may import it
    script.write_text(DRIVER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(TESTS.parent), str(TESTS)))}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment, text=True) as driver:
        pids = [int(pid) for pid in driver.stdout.readline().split()]
        ends = [os.pidfd_open(pid) for pid in pids]
        driver.kill()
    assert len(pids) == 4
    for end in ends:
        assert select.select([end], [], [], 2.0)[0]
        os.close(end)


@pytest.mark.slow
def test_a_copy_trains_as_another_process_does(tmp_path):
    """To the last bit, and so does one after another has trained."""
    values = {
        "blocks": 1,
        "block_1.convolutions": 1,
        "block_1.filters": 4,
        "block_1.kernel_size": 3,
        "block_1.strides": 1,
        "block_1.padding": "same",
        "block_1.pool_size": 2,
        "block_1.dropout": 0.3,
        "dense_layers": 0,
        "learning_rate": 0.01,
        "batch_size": 20,
    }
    states = []
    with shared(toy_dataset(), tmp_path / "data") as data:
        settings = Settings("cnn_tuner.training.fit:open_trainer", str(data), slots=2, threads=1)
        for name in ("spawned", "forked"):
            workers = Workers(executor="processes" if name == "forked" else "inline")  # of which no server is made
            with forking.serving(workers, settings.trainer):
                assert (forking.current() is None) == (name == "spawned")
                executor = registry.create("processes", settings)
                for number in (1, 2):
                    file = str(tmp_path / f"{name}-{number}.npz")
                    executor.submit(replace(job("", number), values=values, state_file=file))
                ended = []
                while len(ended) < 2:
                    event = executor.next_event()
                    ended += [event] if isinstance(event, JobDone) else []
                executor.close()
            assert [event.result.status for event in ended] == ["completed", "completed"]
            with np.load(tmp_path / f"{name}-1.npz") as one, np.load(tmp_path / f"{name}-2.npz") as two:
                states += [{key: each[key] for key in each.files if key != "facts"} for each in (one, two)]
    for state in states[1:]:
        assert state.keys() == states[0].keys()
        assert all(np.array_equal(state[key], states[0][key]) for key in state)
