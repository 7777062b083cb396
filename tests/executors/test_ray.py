"""Trials on a Ray cluster of two nodes on this machine: workers and nodes that are killed, nodes that join.

`make test-cluster` installs Ray.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypermodels
import pytest
from executors.test_contract import SETTINGS, job, next_event, one_token, reap
from search.test_tuning import write_request

from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import SearchError
from cnn_tuner.executors.base import Settings
from cnn_tuner.runs.machine import Cluster, Workers
from cnn_tuner.runs.records import EpochEnded, JobDone, JobLost, JobPlaced, Trial
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.tuning import Tuning

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="make test-cluster installs ray"),
]
TESTS = Path(__file__).parents[1]


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A cluster whose head trains nothing, and two nodes of one processor each."""
    one_token()
    import ray
    from ray.cluster_utils import Cluster as Nodes

    ray.shutdown()
    found = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    found.own = [found.add_node(num_cpus=1) for _ in range(2)]
    yield found
    ray.shutdown()
    found.shutdown()
    reap()


@pytest.fixture
def make(nodes: Any) -> Iterator[Any]:
    """Makes executors on the cluster, and closes them."""
    from cnn_tuner.executors.ray import RayExecutor

    made = []

    def create(**changes: Any) -> RayExecutor:
        settings: Settings = replace(SETTINGS, slots=0, cluster=Cluster(nodes.address, shared_dir="."))
        made.append(RayExecutor(replace(settings, **changes)))
        return made[-1]

    yield create
    for executor in made:
        executor.close()


def ended(executor: Any) -> JobDone:
    """The next job that ends."""
    until = time.monotonic() + 240
    while not isinstance(event := next_event(executor, 1.0), JobDone):
        assert time.monotonic() < until
        assert event is None or isinstance(event, EpochEnded), event
    return event


def wait_for_slots(executor: Any, count: int) -> None:
    """Until as many jobs may be under way, of which one is."""
    until = time.monotonic() + 240
    while executor.slots != count:
        assert time.monotonic() < until, f"{executor.slots} slots, not {count}"
        next_event(executor, 1.0)


def test_slots_are_those_of_the_nodes_that_are_there(nodes, make):
    executor = make()
    executor.submit(job("until_stopped"))
    assert next_event(executor, 60.0) is None or executor.slots
    wait_for_slots(executor, 2)
    nodes.add_node(num_cpus=1)
    wait_for_slots(executor, 3)
    executor.stop()
    assert ended(executor).result.status == "stopped"


def test_where_a_job_is_trained_is_told_first(nodes, make):
    executor = make(slots=1)
    executor.submit(job("train"))
    placed = executor.next_event(240.0) or executor.next_event(240.0)  # there are more slots than before
    assert placed == JobPlaced(7, 1, platform.node())
    assert ended(executor).result.status == "completed"


def actors() -> list[int]:
    """The processes of this machine that train on Ray, those of slots and not of their workers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            name = path.read_bytes()
        except OSError:
            continue
        if name.startswith(b"ray::_Actor"):
            found.append(int(path.parent.name))
    return found


def lost(executor: Any) -> JobLost:
    """The job that is lost, of those under way."""
    until = time.monotonic() + 240
    while not isinstance(event := next_event(executor, 1.0), JobLost):
        assert time.monotonic() < until
        assert event is None or isinstance(event, EpochEnded)
    return event


def test_a_slot_whose_actor_is_killed_comes_again_and_its_job_can_be_begun_anew(nodes, make):
    executor = make()
    executor.submit(job("until_stopped"))
    while not isinstance(next_event(executor, 1.0), EpochEnded):
        pass
    for pid in actors():
        os.kill(pid, signal.SIGKILL)
    event = lost(executor)
    assert (event.job, event.attempt) == (7, 1)
    assert event.reason.startswith("the worker on ")
    executor.submit(replace(job("train"), attempt=2))
    assert ended(executor).result.attempt == 2


def test_a_job_of_a_node_that_is_killed_is_lost_and_goes_on_elsewhere(nodes, make):
    executor = make()
    executor.submit(job("until_stopped"))
    wait_for_slots(executor, 2)
    executor.submit(job("until_stopped", 8))
    began = set()
    while began != {7, 8}:
        event = next_event(executor, 1.0)
        began |= {event.job} if isinstance(event, EpochEnded) else set()
    nodes.remove_node(nodes.own[0], allow_graceful=False)
    gone = lost(executor)
    assert gone.job in began
    executor.submit(replace(job("until_stopped", gone.job), attempt=2))  # though its slot is gone: it waits for one
    executor.stop()
    assert {ended(executor).result.job for _ in range(2)} == {7, 8}


def test_a_node_that_is_frozen_is_noticed(nodes, make, monkeypatch):
    from cnn_tuner.executors import ray as own

    monkeypatch.setattr(own, "HEAR_SECONDS", 0.2)
    monkeypatch.setattr(own, "SILENT_SECONDS", 2.0)
    executor = make(slots=1)
    executor.submit(job("until_stopped"))
    while not isinstance(next_event(executor, 1.0), EpochEnded):
        pass
    [frozen] = actors()
    os.kill(frozen, signal.SIGSTOP)
    assert lost(executor).reason.endswith(" gave no sign of life for 2 s")
    executor.submit(replace(job("train"), attempt=2))
    assert ended(executor).result.status == "completed"


def test_a_trial_that_no_node_has_room_for_is_told(nodes, make, monkeypatch):
    from cnn_tuner.executors import ray as own

    monkeypatch.setattr(own, "ROOM_SECONDS", 1.0)
    executor = make(cluster=Cluster(nodes.address, cpus_per_trial=8, shared_dir="."))
    executor.submit(job("train"))
    told = r"^no node of the cluster has room for a trial, which needs 8 CPUs$"
    with pytest.raises(SearchError, match=told):
        while True:
            next_event(executor, 1.0)


def test_a_worker_that_cannot_start_ends_the_search(nodes, make):
    executor = make(trainer="nowhere:open")
    executor.submit(job("train"))
    with pytest.raises(
        SearchError, match=r"a worker process cannot start: ModuleNotFoundError: No module named 'nowher"
    ):
        ended(executor)


WRONG = """
from cnn_tuner.executors.ray import RayExecutor
from cnn_tuner.runs.machine import Cluster
from executors.test_contract import SETTINGS
from dataclasses import replace
import sys
import tempfile
RayExecutor(replace(SETTINGS, cluster=Cluster(sys.argv[1])))
"""


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = os.environ | {"PYTHONPATH": os.pathsep.join((str(TESTS.parent), str(TESTS)))} | environment
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=own, check=False, timeout=400
    )


def test_a_wrong_token_lets_nobody_in(nodes):
    done = python("-c", WRONG, nodes.address, RAY_AUTH_TOKEN=secrets.token_hex(32))
    assert done.returncode == 1
    assert "no Ray cluster answers there" in done.stderr.strip().splitlines()[-1]
    assert nodes.address in done.stderr.strip().splitlines()[-1]


LOCAL = """
import sys
import tempfile
from pathlib import Path
from cnn_tuner.executors.ray import RayExecutor
from executors.test_contract import SETTINGS, job, until_done

executor = RayExecutor(SETTINGS)
executor.submit(job("train"))
until_done(executor)
listening = {}
lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
for line in map(str.split, lines):
    if line[3] == "0A":
        listening[f"socket:[{line[9]}]"] = line[1].partition(":")[0]
ours = set()
for path in Path("/proc").glob("[0-9]*/fd/*"):
    try:
        link = str(path.readlink())
        command = (path.parents[1] / "cmdline").read_bytes()
    except OSError:
        continue
    if link in listening and (b"ray" in command or path.parents[1].name == str(__import__("os").getpid())):
        ours.add(listening[link])
print(*sorted(ours))
executor.close()
"""
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def test_a_cluster_of_this_machine_listens_to_this_machine_only_and_is_quiet(tmp_path):
    environment = {"HOME": str(tmp_path), "RAY_AUTH_MODE": "", "RAY_AUTH_TOKEN": ""}
    own = {name: value for name, value in os.environ.items() if name not in environment}
    path = os.pathsep.join((str(TESTS.parent), str(TESTS)))
    done = subprocess.run(
        [sys.executable, "-c", LOCAL],
        capture_output=True,
        text=True,
        env=own | {"HOME": str(tmp_path), "PYTHONPATH": path},
        check=True,
        timeout=400,
    )
    assert done.stdout.split()
    assert set(done.stdout.split()) <= LOOPBACK
    lines = done.stderr.splitlines()
    assert not [line for line in lines if "/dev/shm" not in line], "but for too little memory that processes share"
    assert not list(tmp_path.iterdir()), "no token that everybody may read"
    assert not actors()


class Faults(Silent):
    """Kills a worker after the third trial and a node after the sixth, then has a third node join."""

    def __init__(self, nodes: Any) -> None:
        self.nodes, self.ended, self.lost, self.placed = nodes, 0, list[str](), set[int]()

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        self.ended += 1
        if self.ended == 3:
            os.kill(actors()[0], signal.SIGKILL)
        if self.ended == 6:
            self.nodes.remove_node(self.nodes.own[0], allow_graceful=False)
        if self.ended == 7:
            self.nodes.add_node(num_cpus=1)

    def job_lost(self, trial: int, reason: str) -> None:
        self.lost.append(reason)

    def job_placed(self, trial: int, where: str) -> None:
        self.placed.add(trial)


def trials(folder: Path) -> list[tuple[Any, ...]]:
    run = RunStore.open(folder)
    return [(t.number, t.status, t.values, t.score, t.epochs_done, [e.metrics for e in t.epochs]) for t in run.trials()]


def test_a_search_through_faults_equals_an_undisturbed_one(nodes, tmp_path):
    asked = replace(write_request(tmp_path, "multiclass"), max_trials=12, epochs=2, final_epochs=2)
    quiet = Tuning(replace(asked, runs=tmp_path / "quiet", workers=Workers(count=2)), Silent()).run()
    faults = Faults(nodes)
    on_ray = Workers(executor="ray", cluster=Cluster(nodes.address))
    outcome = Tuning(replace(asked, runs=tmp_path / "faults", workers=on_ray), faults).run()
    assert trials(outcome.folder) == trials(quiet.folder)
    assert faults.lost
    assert faults.placed == set(range(1, 13))
    assert all(reason.startswith("the worker on ") or reason.endswith("left the cluster") for reason in faults.lost)
    for name in ("saved_model.pb", "variables/variables.data-00000-of-00001"):
        assert (outcome.export / name).read_bytes() == (quiet.export / name).read_bytes(), name
    assert not actors()
    assert not list((Path(tempfile.gettempdir()) / f"cnn_tuner-{os.getuid()}").glob("*/x.npy")), (
        "the images that were sent"
    )


def test_a_persons_own_networks_are_built_on_the_nodes(nodes, tmp_path):
    def build(hp):  # of a script: no node can import it
        return hypermodels.small(hp)

    asked = replace(write_request(tmp_path, "multiclass"), space=None, hypermodel=build, max_trials=3, final_epochs=1)
    quiet = Tuning(replace(asked, runs=tmp_path / "quiet", workers=Workers(count=2)), Silent()).run()
    on_ray = Workers(executor="ray", cluster=Cluster(nodes.address))
    outcome = Tuning(replace(asked, runs=tmp_path / "ray", workers=on_ray), Silent()).run()
    assert {each[1] for each in trials(outcome.folder)} == {"completed"}
    assert trials(outcome.folder) == trials(quiet.folder)


def test_its_nodes_are_shown(nodes, cnn_tuner):
    import ray

    ray.shutdown()
    quick = ("doctor", "--quick", "--address", nodes.address)
    lines = cnn_tuner(*quick)[1].splitlines()
    assert len(lines) == 4
    assert sum("  1 CPU, " in line and line.endswith("room for 1 trial") for line in lines) == 2
    assert lines[-1] == "in all  room for 2 trials of 1 CPU"
    found = json.loads(cnn_tuner(*quick, "--cpus-per-trial", "2", "--json")[1])
    assert found["room"] == 0
    lines = cnn_tuner("doctor", "--address", nodes.address)[1].splitlines()
    assert sum("room for 1 trial, " in line and line.endswith(" images/s in float32") for line in lines) == 2


def killed_after(trials_told: int, *arguments: str) -> None:
    """Runs a command until it has told so many trials, and kills it."""
    path = os.pathsep.join((str(TESTS.parent), str(TESTS)))
    command = [sys.executable, "-m", "cnn_tuner", *arguments]
    driver = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    with driver:
        lines = iter(driver.stdout.readline, "")
        for _ in range(trials_told):
            assert next((line for line in lines if line.startswith("trial ")), None), "it ended before"
        driver.kill()


def ended_jobs(folder: Path) -> dict[int, tuple[Any, ...]]:
    run = RunStore.open(folder)
    try:
        return {job.number: (job.started_at, job.score, job.losses) for job in run.jobs() if job.ended is not None}
    finally:
        run.close()


def test_a_driver_that_is_killed_is_gone_on_with_and_nothing_is_repeated(nodes, tmp_path):
    import ray

    ray.shutdown()
    asked = replace(write_request(tmp_path, "multiclass"), max_trials=6, epochs=2, final_epochs=2)
    asked = replace(asked, data_options=DataOptions(seed=1))  # as --seed decides both
    quiet = Tuning(replace(asked, runs=tmp_path / "quiet", workers=Workers(count=2)), Silent()).run()
    runs, folder = tmp_path / "killed", tmp_path / "killed" / "toy"
    on_ray = ("--runs", str(runs), "--address", nodes.address)
    settings = {"max-trials": 6, "max-epochs": 2, "final-epochs": 2, "finalists": 1, "final-seeds": 1, "seed": 1}
    flags = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    killed_after(2, "tune", "--data", asked.data, "--space", asked.space, "--name", "toy", *flags, *on_ray)
    first = ended_jobs(folder)
    killed_after(2, "resume", "toy", *on_ray)
    second = ended_jobs(folder)
    assert len(second) > len(first) >= 2
    done = python("-m", "cnn_tuner", "resume", "toy", *on_ray)
    assert done.returncode == 0, done.stderr
    last = ended_jobs(folder)
    assert {number: last[number] for number in second} == second
    assert {number: last[number] for number in first} == first
    assert trials(folder) == trials(quiet.folder)
    run = RunStore.open(folder)
    assert set(run.places()) == set(last)
    until = time.monotonic() + 240
    while actors():  # of the drivers that were killed
        assert time.monotonic() < until
        time.sleep(0.2)


# Ray leaves the log files of its client's server open.
@pytest.mark.filterwarnings("ignore:.*ray_client_server:pytest.PytestUnraisableExceptionWarning")
def test_a_cluster_is_searched_by_its_client_port_too(tmp_path):
    one_token()
    import ray
    from ray.cluster_utils import Cluster as Nodes

    ray.shutdown()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    head = {"num_cpus": 1, "include_dashboard": False, "ray_client_server_port": port}
    nodes = Nodes(initialize_head=True, head_node_args=head)
    try:
        asked = write_request(tmp_path, "multiclass")
        flags = ("--max-trials", "1", "--max-epochs", "1", "--final-epochs", "1", "--final-seeds", "1", "--name", "toy")
        place = ("--runs", str(tmp_path / "runs"), "--address", f"ray://127.0.0.1:{port}")
        done = python("-m", "cnn_tuner", "tune", "--data", asked.data, "--space", asked.space, *flags, *place)
        assert done.returncode == 0, done.stderr
        assert set(RunStore.open(tmp_path / "runs" / "toy").places().values()) == {platform.node()}
    finally:
        nodes.shutdown()
        reap()
