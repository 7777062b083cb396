"""cnn_tuner beside KerasTuner and Optuna: one space, one split, one wall clock, one tool after the other.

    .venv/bin/python benchmarks/peers.py --data idx:/usr/share/datasets/fashion-mnist --budget 8m --seeds 1 2 3

Every tool runs in a process of its own with the whole machine, for as long, on the space of benchmarks/peers.yaml, with
the settings that its own getting-started page shows. Seconds count from the start of that process, loading TensorFlow
included. A tool is asked at the end for what it would hand over, and that is evaluated on the test part. Prints a
Markdown row a run as it ends, and medians; `--out` keeps all that was seen as JSON, from which `--draw` makes the plot.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cnn_tuner.runs.budget import parse_seconds

SPACE = Path(__file__).with_name("peers.yaml")
MARKS = (0.90, 0.91, 0.92)  # of validation accuracy: when were they reached
SHARES = (0.25, 0.5, 1.0)  # of the time: what had been reached
EPOCHS = 12
BATCH = 128
Point = dict[str, Any]


class TimeIsOverError(BaseException):
    """Ends a tool wherever it is: no tool's own handling of failures catches it."""


class Watch:
    """What a peer was seen to reach: the seconds and validation accuracy of each epoch of any trial."""

    def __init__(self, started: float, seconds: float) -> None:
        self.started, self.ends = started, started + seconds
        self.epochs: list[tuple[float, float]] = []
        self.trials = 0

    def callback(self) -> Any:
        import keras

        watch = self

        class Seen(keras.callbacks.Callback):
            def on_train_begin(self, logs: Any = None) -> None:
                watch.trials += 1

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                if time.time() >= watch.ends:
                    raise TimeIsOverError

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                watch.epochs.append((time.time() - watch.started, float(logs["val_accuracy"])))

            def __deepcopy__(self, memo: Any) -> Seen:  # KerasTuner copies callbacks for each trial
                return self

        return Seen()


def build(choose: Any, shape: tuple[int, int, int], classes: int) -> Any:
    """A network of the space, as a Keras tutorial writes it. `choose` draws a value: of a list, a step or a range."""
    import keras

    layers = keras.layers
    inputs = keras.Input(shape, dtype="uint8")
    x = layers.Rescaling(1 / 255)(inputs)
    for block in range(1, choose.of("blocks", [1, 2, 3]) + 1):
        x = layers.Conv2D(
            choose.of(f"filters_{block}", [16, 32, 64, 128]),
            choose.of(f"kernel_size_{block}", [3, 5]),
            strides=choose.of(f"strides_{block}", [1, 2]),
            padding=choose.of(f"padding_{block}", ["same", "valid"]),
            activation="relu",
        )(x)
        x = layers.MaxPooling2D(choose.of(f"pool_size_{block}", [2, 3]))(x)
        x = layers.Dropout(choose.stepped(f"dropout_{block}"))(x)
    x = layers.Flatten()(x)
    x = layers.Dense(choose.of("units", [64, 128, 256]), activation="relu")(x)
    x = layers.Dropout(choose.stepped("dropout_dense"))(x)
    model = keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))
    rate = choose.log("learning_rate", 1e-4, 1e-2)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class OfKerasTuner:
    """Draws from KerasTuner's hyperparameters."""

    def __init__(self, hp: Any) -> None:
        self.hp = hp

    def of(self, name: str, values: list[Any]) -> Any:
        return self.hp.Choice(name, values)

    def stepped(self, name: str) -> float:
        return float(self.hp.Float(name, 0.0, 0.5, step=0.1))

    def log(self, name: str, low: float, high: float) -> float:
        return float(self.hp.Float(name, low, high, sampling="log"))


class OfOptuna:
    """Draws from an Optuna trial."""

    def __init__(self, trial: Any) -> None:
        self.trial = trial

    def of(self, name: str, values: list[Any]) -> Any:
        return self.trial.suggest_categorical(name, values)

    def stepped(self, name: str) -> float:
        return float(self.trial.suggest_float(name, 0.0, 0.5, step=0.1))

    def log(self, name: str, low: float, high: float) -> float:
        return float(self.trial.suggest_float(name, low, high, log=True))


def keras_tuner(kind: str) -> Callable[[Any, Watch, int, Path], Any]:
    """As on https://keras.io/keras_tuner/getting_started: the best model after the search is handed over."""

    def run(dataset: Any, watch: Watch, seed: int, folder: Path) -> Any:
        import keras_tuner as kt

        def hypermodel(hp: Any) -> Any:
            return build(OfKerasTuner(hp), dataset.image_shape, dataset.outputs)

        common = {
            "objective": "val_accuracy",
            "seed": seed,
            "directory": folder,
            "project_name": "kt",
            "overwrite": True,
        }
        common |= {"max_consecutive_failed_trials": 10**6}  # points that cannot be built fail
        tuner = {
            "random": lambda: kt.RandomSearch(hypermodel, max_trials=10**6, **common),
            "bayesian": lambda: kt.BayesianOptimization(hypermodel, max_trials=10**6, **common),
            "hyperband": lambda: kt.Hyperband(hypermodel, max_epochs=EPOCHS, hyperband_iterations=10**3, **common),
        }[kind]()
        with suppress(TimeIsOverError):
            tuner.search(
                np.asarray(dataset.train.x),
                dataset.train.y,
                epochs=EPOCHS,
                batch_size=BATCH,
                validation_data=(np.asarray(dataset.val.x), dataset.val.y),
                callbacks=[watch.callback()],
                verbose=0,
            )
        return next(iter(tuner.get_best_models(1)), None)

    return run


def optuna_tool(pruner: str) -> Callable[[Any, Watch, int, Path], Any]:
    """As Optuna's Keras example with pruning: the weights of the best epoch so far are handed over."""

    def run(dataset: Any, watch: Watch, seed: int, folder: Path) -> Any:
        import keras
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        kinds = {"median": optuna.pruners.MedianPruner, "halving": optuna.pruners.SuccessiveHalvingPruner}
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed), pruner=kinds[pruner]()
        )
        best: list[Any] = [0.0, None]

        def objective(trial: Any) -> float:
            keras.backend.clear_session()
            try:
                model = build(OfOptuna(trial), dataset.image_shape, dataset.outputs)
            except ValueError as error:  # a kernel or a pool that does not fit
                raise optuna.TrialPruned from error

            class Reports(keras.callbacks.Callback):
                def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                    score = float(logs["val_accuracy"])
                    if score > best[0]:
                        best[:] = score, keras.models.clone_model(model)
                        best[1].set_weights(model.get_weights())
                    trial.report(score, epoch)
                    if trial.should_prune():
                        raise optuna.TrialPruned

            history = model.fit(
                np.asarray(dataset.train.x),
                dataset.train.y,
                epochs=EPOCHS,
                batch_size=BATCH,
                validation_data=(np.asarray(dataset.val.x), dataset.val.y),
                callbacks=[watch.callback(), Reports()],
                verbose=0,
            )
            return float(max(history.history["val_accuracy"]))

        with suppress(TimeIsOverError):
            study.optimize(objective)
        return best[1]

    return run


PEERS = {
    "KerasTuner RandomSearch": keras_tuner("random"),
    "KerasTuner BayesianOptimization": keras_tuner("bayesian"),
    "KerasTuner Hyperband": keras_tuner("hyperband"),
    "Optuna TPE, median pruner": optuna_tool("median"),
    "Optuna TPE, successive halving": optuna_tool("halving"),
}
OWN = "cnn_tuner"
OWN_NETWORKS = "cnn_tuner, the peers' function"  # that builds their networks
TOOLS = (OWN, OWN_NETWORKS, *PEERS)


def run_peer(name: str, data: str, seed: int, started: float, seconds: float) -> dict[str, Any]:
    """One peer in this process, until `seconds` after `started`."""
    import keras
    import numpy as np

    from cnn_tuner.data import registry
    from cnn_tuner.data.options import DataOptions

    random.seed(seed)
    keras.utils.set_random_seed(seed)
    dataset = registry.load(data, DataOptions(seed=seed))
    watch = Watch(started, seconds)
    with tempfile.TemporaryDirectory() as folder:
        model = PEERS[name](dataset, watch, seed, Path(folder))
        test = None
        if model is not None:
            found = model.predict(np.asarray(dataset.test.x), batch_size=256, verbose=0).argmax(axis=1)
            test = float((found == np.asarray(dataset.test.y).reshape(-1)).mean())
    return {"epochs": watch.epochs, "trials": watch.trials, "test": test}


def run_own_networks(data: str, seed: int, started: float, seconds: float) -> dict[str, Any]:
    """What the peers' function builds, searched by `cnn_tuner.tune`, in this process and its workers."""
    import cnn_tuner
    from cnn_tuner.data import registry
    from cnn_tuner.data.options import DataOptions

    dataset = registry.load(data, DataOptions(seed=seed))

    def networks(hp: Any) -> Any:
        hp.Fixed("batch_size", BATCH)  # the peers' argument of `search`
        return build(OfKerasTuner(hp), dataset.image_shape, dataset.outputs)

    with tempfile.TemporaryDirectory() as folder:
        left = seconds - (time.time() - started)
        cnn_tuner.tune(data, hypermodel=networks, budget=left, seed=seed, runs=folder, name="own", verbose=0)
        return seen_by(Path(folder) / "own", started) | {"seconds": time.time() - started}


def run_own(data: str, seed: int, seconds: float) -> dict[str, Any]:
    """The command itself."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.time()
        command = [
            sys.executable,
            "-m",
            "cnn_tuner.cli",
            "tune",
            "--data",
            data,
            "--space",
            str(SPACE),
            "--seed",
            str(seed),
        ]
        command += ["--budget", f"{seconds:g}s", "--runs", folder, "--name", "own", "--json"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        ended = time.time() - started
        return seen_by(Path(folder) / "own", started) | {"seconds": ended}


def seen_by(folder: Path, started: float) -> dict[str, Any]:
    """What a run of cnn_tuner reached when, as its store says."""
    from cnn_tuner.runs.store import RunStore

    with closing(RunStore.open(folder)) as run:
        trials = run.trials()
        finals = [job for trial in trials for job in run.final_jobs(trial.number).values() if not job.is_refit]
        jobs = {job.number: job for job in [*run.jobs(), *finals]}
        seen = []
        for job in jobs.values():
            epochs = run.epochs(job.number)
            at = job.started_at - started + max(0.0, job.seconds - sum(epoch.seconds for epoch in epochs))
            for epoch in epochs:
                at += epoch.seconds
                if "val_accuracy" in epoch.metrics:
                    seen.append((at, epoch.metrics["val_accuracy"]))
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return {"epochs": sorted(seen), "trials": len(trials), "test": result["test"]["accuracy"]}


def measured(tool: str, data: str, seed: int, seconds: float) -> dict[str, Any]:
    """One tool with one seed, in a process of its own."""
    if tool == OWN:
        found = run_own(data, seed, seconds)
    else:
        arguments = ["--one", tool, "--data", data, "--seeds", str(seed), "--budget", f"{seconds:g}s"]
        command = [sys.executable, __file__, *arguments, "--started", str(time.time())]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        found = json.loads(answer.stdout.splitlines()[-1])
    return {"tool": tool, "seed": seed, "budget": seconds} | found


def reached(run: dict[str, Any], mark: float) -> float | None:
    """Seconds until a validation accuracy was seen."""
    return min((at for at, score in run["epochs"] if score >= mark), default=None)


def best(run: dict[str, Any], share: float) -> float:
    """The best validation accuracy seen in a share of the time."""
    return max((score for at, score in run["epochs"] if at <= share * run["budget"]), default=0.0)


HEAD = "| tool | seed | " + " | ".join(f"{mark:g}" for mark in MARKS) + " | "
HEAD += " | ".join(f"best at {share:.0%}" for share in SHARES) + " | test | trials | epochs |"


def row(run: dict[str, Any]) -> str:
    marks = [reached(run, mark) for mark in MARKS]
    times = ["-" if at is None else f"{at:.0f}" for at in marks]
    scores = [f"{best(run, share):.4f}" for share in SHARES]
    test = "-" if run["test"] is None else f"{run['test']:.4f}"
    cells = [run["tool"], str(run["seed"]), *times, *scores, test, str(run["trials"]), str(len(run["epochs"]))]
    return f"| {' | '.join(cells)} |"


def medians(runs: list[dict[str, Any]]) -> list[str]:
    """A row a tool: a time that most of its runs did not reach has no median."""
    lines = []
    for tool in dict.fromkeys(run["tool"] for run in runs):
        own = [run for run in runs if run["tool"] == tool]
        times = [statistics.median([reached(run, mark) or float("inf") for run in own]) for mark in MARKS]
        scores = [f"{statistics.median([best(run, share) for run in own]):.4f}" for share in SHARES]
        tests = [run["test"] or 0.0 for run in own]
        told = ["-" if at == float("inf") else f"{at:.0f}" for at in times]
        counts = [
            f"{statistics.median([value(run) for run in own]):.0f}"
            for value in (lambda r: r["trials"], lambda r: len(r["epochs"]))
        ]
        lines.append(f"| {' | '.join([tool, 'median', *told, *scores, f'{statistics.median(tests):.4f}', *counts])} |")
    return lines


def draw(runs: list[dict[str, Any]], place: Path) -> None:
    """The best validation accuracy so far by seconds: the median of each tool's runs."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(figsize=(8, 4.5))
    at = np.linspace(0, max(run["budget"] for run in runs), 200)
    for tool in dict.fromkeys(run["tool"] for run in runs):
        own = [run for run in runs if run["tool"] == tool]
        curves = [[max((s for t, s in run["epochs"] if t <= when), default=np.nan) for when in at] for run in own]
        axes.plot(
            at,
            np.nanmedian(curves, axis=0) if len(curves) > 1 else curves[0],
            label=tool,
            lw=2.5 if tool == OWN else 1.2,
        )
    axes.set(xlabel="seconds", ylabel="best validation accuracy so far")
    low = max(0.0, statistics.median(best(run, 0.25) for run in runs) - 0.06)
    axes.set_ylim(low, max(best(run, 1.0) for run in runs) + 0.005)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--budget", default="2m")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    parser.add_argument("--out", type=Path, help="JSON file, to which runs are added")
    parser.add_argument("--draw", type=Path, help="SVG file of the plot")
    parser.add_argument("--one", choices=(OWN_NETWORKS, *PEERS), help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    seconds = parse_seconds("--budget", asked.budget)
    if asked.one:
        run_one = run_own_networks if asked.one == OWN_NETWORKS else partial(run_peer, asked.one)
        print(json.dumps(run_one(asked.data, asked.seeds[0], asked.started, seconds)))
        return
    runs = json.loads(asked.out.read_text()) if asked.out and asked.out.is_file() else []
    print(HEAD, "|---" * (HEAD.count(" | ") + 1) + "|", sep="\n", flush=True)
    for seed in asked.seeds:
        for tool in asked.tools:
            runs.append(measured(tool, asked.data, seed, seconds))
            print(row(runs[-1]), flush=True)
            if asked.out:
                aside = asked.out.with_suffix(".tmp")
                aside.write_text(json.dumps(runs))
                shutil.move(aside, asked.out)
    print(*medians(runs), sep="\n")
    if asked.draw:
        draw(runs, asked.draw)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
