"""What the engine itself costs: the time of a trial beside its training, the size of the run file, the driver's memory.

    .venv/bin/python benchmarks/engine.py [--trials 10000] [--oracle random]

Trials are simulated (results from a formula, 8 slots, a virtual clock), everything else is real: the oracle, the store
with a transaction an event, the TensorBoard logs, the disk. Prints a row for each tenth of the trials.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from cnn_tuner.executors.memory import resident_bytes
from cnn_tuner.executors.simulated import Simulated, SimulatedExecutor
from cnn_tuner.logs.trials import RunLogs
from cnn_tuner.runs.config import DataConfig, RunConfig, SearchConfig
from cnn_tuner.runs.records import Epoch, Job, Trial
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.loop import Search
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.suggesting import make_oracle
from cnn_tuner.spaces import tree

SLOTS = 8


def outcome(job: Job) -> Simulated:
    """A learning curve that depends on the point: better with more filters, slower with more."""
    filters = sum(int(v) for name, v in job.values.items() if name.endswith(".filters"))
    best = 1.0 - 1.0 / (1 + filters)
    epochs = []
    for number in range(job.initial_epoch + 1, job.epochs + 1):
        value = best * (1 - 0.5**number)
        metrics = {"accuracy": value, "loss": 1 - value, "val_accuracy": 0.99 * value, "val_loss": 1.01 - value}
        epochs.append(Epoch(number, metrics, 0.01 * filters))
    return Simulated(tuple(epochs))


def config(oracle: str, trials: int, epochs: int) -> RunConfig:
    """A search of `seven_steps` on images of 28x28."""
    space = tree.load("seven_steps")
    return RunConfig(
        created="",
        command="benchmarks/engine.py",
        versions={},
        data=DataConfig(
            source="none",
            name="none",
            task="multiclass",
            class_names=tuple("0123456789"),
            image_shape=(28, 28, 1),
            images=(1000, 200, 200),
            fingerprint="",
            options={},
        ),
        space_name=space.name,
        space_place=space.place,
        space=space.to_dict(),
        search=SearchConfig(
            oracle=oracle,
            objective="val_accuracy",
            direction="max",
            max_trials=trials,
            epochs=epochs,
            final_epochs=epochs,
            seed=0,
            precision="float32",
        ),
    )


class Stopwatch(Silent):
    """Prints a row for each tenth of the trials."""

    def __init__(self, run: RunStore, trials: int) -> None:
        self.run, self.each, self.ended, self.began = run, max(1, trials // 10), 0, time.perf_counter()

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        self.ended += 1
        if self.ended % self.each == 0:
            milliseconds = (time.perf_counter() - self.began) / self.each * 1e3
            size = sum(file.stat().st_size for file in self.run.folder.glob("run.sqlite*")) / 2**20
            print(
                f"{self.ended:>7}  {milliseconds:>13.2f}  {size:>11.1f}  {resident_bytes() / 2**20:>9.0f}", flush=True
            )
            self.began = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description="What the engine itself costs.")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--oracle", default="random")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = RunStore.create(Path(folder), "engine", config(asked.oracle, asked.trials, asked.epochs))
        logs = RunLogs(run.tensorboard, run.config.search_space(), run.config.objective)
        executor = SimulatedExecutor(SLOTS, outcome)
        print(f"{asked.trials} simulated trials of {asked.epochs} epochs, {asked.oracle}, {SLOTS} slots")
        print(f"{'trials':>7}  {'ms per trial':>13}  {'run file MB':>11}  {'driver MB':>9}")
        started = time.perf_counter()
        with run.at_work("benchmark", {}):
            Search(run, make_oracle(run.config), executor, logs, Stopwatch(run, asked.trials)).run()
        seconds = time.perf_counter() - started
        logs.close()
        bytes_ = (Path(run.folder) / "run.sqlite").stat().st_size
        print(
            f"in all {seconds:.0f} s, {seconds / asked.trials * 1e3:.2f} ms per trial, run file {bytes_ / 2**20:.1f} MB"
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(f"peak memory of the driver {peak:.0f} MB; simulated {executor.now:,.0f} s of training")
        run.close()


if __name__ == "__main__":
    main()
