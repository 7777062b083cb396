"""A long search under fire: real trials by two workers, of which some are killed, and one exhausts its memory.

    .venv/bin/python benchmarks/endurance.py [--trials 200] [--kills 3]

Prints the memory of the driver and of each worker (what each holds for itself, MB) after each tenth of the trials, what
happened to the workers, and how the run ended. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from cnn_tuner.executors.base import Settings, Train
from cnn_tuner.executors.memory import resident_bytes
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.records import Trial
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.tuning import Request, Tuning
from cnn_tuner.training import fit

GREEDY = 50  # the trial that is made to exhaust its memory
MIB = 2**20


def open_trainer(settings: Settings) -> Train:
    """The real trainer, but that one trial has a network whose maps need more memory than a worker may take."""
    train = fit.open_trainer(settings)

    def training_one_greedily(job, on_epoch, should_stop):  # type: ignore[no-untyped-def]
        if job.trial == GREEDY:
            greedy = {"block_1.filters": 60_000, "block_1.padding": "same", "block_1.pool_size": 1, "batch_size": 64}
            job = replace(job, values=job.values | greedy)
        return train(job, on_epoch, should_stop)

    return training_one_greedily


def held_bytes(pid: int) -> int:
    """What a process holds for itself; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def workers() -> list[int]:
    """The pids of this process's children that train."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in children if b"executors" in Path(f"/proc/{pid}/cmdline").read_bytes()]


class Fire(Silent):
    """Kills a worker now and then, and prints how much memory everybody holds."""

    def __init__(self, trials: int, kills: int) -> None:
        self.rng = random.Random(0)
        self.kill_after = set(self.rng.sample(range(10, trials - 10), kills))
        self.each, self.ended, self.started = max(1, trials // 10), 0, time.monotonic()

    def job_lost(self, trial: int, reason: str) -> None:
        print(f"        trial {trial} lost: {reason}", flush=True)

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        self.ended += 1
        if trial.status == "failed":
            print(f"        trial {trial.number} failed: {trial.message}", flush=True)
        if self.ended in self.kill_after:
            pid = self.rng.choice(workers())
            print(f"        killing worker {pid}", flush=True)
            os.kill(pid, signal.SIGKILL)
        if self.ended % self.each == 0:
            held = "  ".join(f"{held_bytes(pid) // MIB:>6}" for pid in workers())
            seconds = time.monotonic() - self.started
            print(f"{self.ended:>6}  {seconds:>5.0f}  {resident_bytes() // MIB:>6}  {held}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="A long search under fire.")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--kills", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        limits = Workers(count=2, precision="float32", memory_bytes=2**30)
        request = Request("digits", "quick", max_trials=asked.trials, runs=Path(folder), workers=limits)
        tuning = Tuning(request, Fire(asked.trials, asked.kills))
        tuning.trainer = "endurance:open_trainer"
        print("trials  seconds  driver  workers")
        outcome = tuning.run()
        run = RunStore.open(outcome.folder)
        statuses = Counter(trial.status for trial in run.trials())
        lost = sum(job.losses for job in run.jobs())
        states = list(run.checkpoints.glob("*"))
        print(
            f"complete: {run.is_complete}; trials: {dict(statuses)}; attempts lost: {lost}; {len(states)} checkpoints,"
        )
        print(
            f"{sum(f.stat().st_size for f in states) / MIB:.1f} MB; test {outcome.winner.test}; {outcome.seconds:.0f} s"
        )
        run.close()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
