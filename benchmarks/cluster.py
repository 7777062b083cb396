"""What Ray costs beside worker processes, what many slots do to the driver, and what many workers would do.

    make test-cluster ARGS=--collect-only -q        # puts Ray into .venv
    .venv/bin/python benchmarks/cluster.py start    # start-up and the cost of a job: processes and Ray in turn
    .venv/bin/python benchmarks/cluster.py nodes    # 8 nodes of this machine with 8 slots each, whose jobs wait
    .venv/bin/python benchmarks/cluster.py many     # a simulated search with 1 to 1,000 workers

Jobs train nothing: they wait, tell two epochs, and leave a training state of half a megabyte.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from cnn_tuner.executors import registry
from cnn_tuner.executors.base import Executor, Settings
from cnn_tuner.executors.memory import resident_bytes
from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.runs.machine import Cluster
from cnn_tuner.runs.records import Job, JobDone, JobLost

sys.path.insert(0, str(Path(__file__).parent))
SETTINGS = Settings("cluster_trainer:open_waiting", "data")


def job(number: int, folder: str, seconds: float) -> Job:
    objective = Objective("val_accuracy", "max")
    state = f"{folder}/job-{number:05}.npz"
    return Job(number, number, {"seconds": seconds}, (8, 8, 1), Output("multiclass", 4), objective, 2, 0, state)


def run(executor: Executor, jobs: int, seconds: float, first: int = 1) -> float:
    """How long so many jobs take, as many at once as there are slots."""
    with tempfile.TemporaryDirectory() as folder:
        began, number, ended, under_way = time.monotonic(), first, 0, 0
        while ended < jobs:
            while under_way < executor.slots and number < first + jobs:
                executor.submit(job(number, folder, seconds))
                number, under_way = number + 1, under_way + 1
            event = executor.next_event()
            if isinstance(event, JobLost):
                raise SystemExit(event.reason)
            if isinstance(event, JobDone):
                ended, under_way = ended + 1, under_way - 1
        return time.monotonic() - began


def start() -> None:
    print(
        "| executor | until the first job has ended | a job of no length | memory of all processes |\n|---|---|---|---|"
    )
    for name in ("processes", "ray", "processes", "ray"):
        began = time.monotonic()
        executor = registry.create(name, replace(SETTINGS, slots=2, cluster=Cluster() if name == "ray" else None))
        run(executor, 1, 0.0)
        first = time.monotonic() - began
        each = run(executor, 200, 0.0, first=2) / 200
        print(f"| {name} | {first:.2f} s | {1000 * each:.1f} ms | {memory_of_all() / 2**20:,.0f} MB |", flush=True)
        executor.close()


def nodes(count: int, slots: int) -> None:
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64, RAY_USAGE_STATS_ENABLED="0")
    from ray.cluster_utils import Cluster as Nodes

    made = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(count):
        made.add_node(num_cpus=slots, object_store_memory=80 * 2**20)
    began, before = time.monotonic(), resident_bytes()
    executor = registry.create("ray", replace(SETTINGS, slots=0, cluster=Cluster(made.address, shared_dir=".")))
    run(executor, 1, 0.0)
    print(f"first job ended after {time.monotonic() - began:.1f} s, {executor.slots} slots")
    number = 2
    while executor.slots < count * slots:
        run(executor, executor.slots, 1.0, first=number)
        number += executor.slots + 1000
    memory = memory_of_all() / 2**30
    print(f"all {executor.slots} slots after {time.monotonic() - began:.1f} s; all processes {memory:.1f} GiB")
    for seconds, jobs in ((4.0, 3 * count * slots), (1.0, 6 * count * slots), (0.0, 10 * count * slots)):
        used, wall = time.process_time(), run(executor, jobs, seconds, first=number)
        used, number = time.process_time() - used, number + jobs + 1000
        own = (resident_bytes() - before) / 2**20
        ideal = jobs * seconds / executor.slots
        share = f", {100 * ideal / wall:.0f} % of the slots' time" if ideal else ""
        print(
            f"jobs of {seconds:g} s: {jobs / wall:.1f} results a second{share}; "
            f"driver {1000 * used / jobs:.2f} ms of processor each, {own:+.0f} MB",
            flush=True,
        )
    executor.close()
    made.shutdown()


def many() -> None:
    from engine import config, outcome

    from cnn_tuner.executors.simulated import SimulatedExecutor
    from cnn_tuner.logs.trials import RunLogs
    from cnn_tuner.runs.store import RunStore
    from cnn_tuner.search.loop import Search
    from cnn_tuner.search.observer import Silent
    from cnn_tuner.search.suggesting import make_oracle

    print("| workers | trials | virtual time | slots at work | driver, a job | best |\n|---|---|---|---|---|---|")
    for slots in (1, 10, 100, 1000):
        trials = max(200, 3 * slots)
        with tempfile.TemporaryDirectory() as folder:
            store = RunStore.create(Path(folder), "run", config("asha", trials, 27))
            executor: Any = SimulatedExecutor(slots, outcome)
            with store.at_work("", {}):
                logs = RunLogs(store.tensorboard, store.config.search_space(), store.config.objective)
                logs.begin(0.0)
                search = Search(store, make_oracle(store.config), executor, logs, Silent())
                began = time.process_time()
                search.run()
                seconds, jobs = time.process_time() - began, store.last_job()
                logs.close()
            best = max(trial.score or 0.0 for trial in store.trials())
            busy = executor.busy_seconds / (executor.now * slots)
            each = f"{1000 * seconds / jobs:.1f} ms"
            print(f"| {slots:,} | {trials:,} | {executor.now:,.0f} s | {busy:.0%} | {each} | {best:.4f} |", flush=True)
            store.close()


def memory_of_all() -> int:
    """What this process and all below it hold for themselves, and Ray's."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            text, command = path.read_text(), (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if any(word in command for word in (b"cluster.py", b"ray", b"cnn_tuner")):
            total += sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("RssAnon"))
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("start", "nodes", "many"))
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--slots", type=int, default=8, help="of each node")
    asked = parser.parse_args()
    if asked.what == "start":
        start()
    elif asked.what == "nodes":
        nodes(asked.nodes, asked.slots)
    else:
        many()


if __name__ == "__main__":
    main()
