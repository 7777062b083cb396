"""`kill -9` of the driver: no result is lost, none is had twice, and the trials are those of a run in peace."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from toys import toy_run

from cnn_tuner.runs.store import RunStore

KILLS = 30
DRIVER = Path(__file__).with_name("driver.py")


class Drivers:
    """Drivers of one process that has loaded TensorFlow already."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(DRIVER.parent), str(DRIVER.parent.parent)])
        environment = dict(os.environ, PYTHONPATH=path, TF_CPP_MIN_LOG_LEVEL="3", PYTHONWARNINGS="ignore")
        self._process = subprocess.Popen(
            [sys.executable, str(DRIVER)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def drive(self, run: Path, slots: int, seconds: float | None = None) -> bool:
        """Goes on with a run; with `seconds`, kills the driver then. Whether it came to its end."""
        self._process.stdin.write(f"{slots} {run}\n".encode())
        pid = int(self._line())
        if seconds is not None and not select.select([self._process.stdout], [], [], seconds)[0]:
            os.kill(pid, signal.SIGKILL)
        return int(self._line()) == 0

    def _line(self) -> str:
        line = b""
        while not line.endswith(b"\n"):
            read = self._process.stdout.read(1)
            assert read, "the driver's process ended"
            line += read
        return line.decode().strip()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def drivers():
    started = Drivers()
    yield started
    started.close()


def trials_of(folder: Path) -> list[tuple]:
    run = RunStore.open(folder)
    found = [
        (t.number, t.values, t.seed, t.status, t.score, t.best_epoch, [(e.number, e.metrics) for e in t.epochs])
        for t in run.trials()
    ]
    run.close()
    return found


def ended_jobs(folder: Path) -> set[int]:
    run = RunStore.open(folder)
    ended = {job.number for job in run.jobs() if job.ended is not None}
    run.close()
    return ended


def begun_after(folder: Path, lines: int) -> tuple[set[int], int]:
    """The jobs that began to be trained since the log had so many lines, and how many it has now."""
    log = folder / "trained"
    text = log.read_text().splitlines() if log.exists() else []
    return {int(line.split()[1]) for line in text[lines:]}, len(text)


@pytest.mark.parametrize(
    ("oracle", "slots"),
    [
        ("random", 2),
        ("hyperband", 1),
        ("bayesian", 1),
        ("asha", 1),
    ],
)
@pytest.mark.slow
def test_killed_at_random_instants_a_run_loses_nothing_and_repeats_nothing(drivers, tmp_path, oracle, slots):
    search = {"oracle": oracle, "max_trials": 200, "epochs": 9}
    (tmp_path / "calm").mkdir()
    calm = toy_run(tmp_path / "calm", **search).folder
    assert drivers.drive(calm, slots)
    rng, kills, lines = random.Random(0), 0, 0
    folder = toy_run(tmp_path, **search).folder
    is_complete = False
    while not is_complete:
        ended = ended_jobs(folder)
        # Half a second is a start and some trials: the first ones are killed before their first trial has ended.
        is_complete = drivers.drive(folder, slots, rng.uniform(0, 0.5) if kills < KILLS else None)
        begun, lines = begun_after(folder, lines)
        assert not begun & ended, "a job whose result was there was run again"
        assert ended <= ended_jobs(folder), "a result was lost"
        kills += not is_complete
    assert kills == KILLS
    assert trials_of(folder) == trials_of(calm)
