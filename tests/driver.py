"""A driver that can be killed: forks one for each line on stdin, so that TensorFlow is loaded once for all of them.

Each line is a run's folder. Prints the pid of the driver that goes on with it, and how it ended (as `os.waitpid` says).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cnn_tuner.executors.base import Settings
from cnn_tuner.executors.processes import ProcessExecutor
from cnn_tuner.logs.trials import RunLogs
from cnn_tuner.oracles import bayesian, hyperband  # noqa: F401 - loaded before the forks
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.loop import Search
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.suggesting import make_oracle


def drive(folder: Path, slots: int) -> None:
    """Goes on with the search of a run, its jobs by a trainer that trains nothing."""
    run = RunStore.open(folder)
    executor = ProcessExecutor(Settings("fake_trainers:open_formula", str(folder), slots=slots))
    logs = RunLogs(run.tensorboard, run.config.search_space(), run.config.objective)
    try:
        with run.at_work("test", {}):
            run.reopen_stopped()
            Search(run, make_oracle(run.config), executor, logs, Silent()).run()
    finally:
        executor.close()
        logs.close()


def main() -> None:
    for line in sys.stdin:
        slots, folder = line.strip().split(" ", 1)
        pid = os.fork()
        if pid == 0:
            drive(Path(folder), int(slots))
            os._exit(0)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
