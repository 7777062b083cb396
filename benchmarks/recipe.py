"""What each part of the training recipe is worth, by test accuracy: the same network, trained with and without it.

    .venv/bin/python benchmarks/recipe.py digits
    .venv/bin/python benchmarks/recipe.py idx:/usr/share/datasets/fashion-mnist --seconds 150 --seeds 1

Every variant is trained by the product's own trainer, one after another, on the splits of the same seeds; the RBF SVM
of the baselines stands beside them. With `--seconds` each has the same time on all cores, and ends its learning rate by
then, as a finalist of a short search does. It prints Markdown: benchmarks/recipe.md.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from cnn_tuner.baselines import registry as baselines
from cnn_tuner.data import registry
from cnn_tuner.data.dataset import Dataset
from cnn_tuner.data.options import DataOptions
from cnn_tuner.executors.base import Settings
from cnn_tuner.metrics import scores
from cnn_tuner.metrics.tasks import Output, choose_objective
from cnn_tuner.runs.records import Job
from cnn_tuner.training import devices, fit
from cnn_tuner.training.batches import Data

MOST_EPOCHS = 200  # where the time says how many it becomes
NETWORK: dict[str, Any] = {
    "blocks": 2,
    **{f"block_{n}.kernel_size": 3 for n in (1, 2)},
    **{f"block_{n}.strides": 1 for n in (1, 2)},
    **{f"block_{n}.padding": "same" for n in (1, 2)},
    **{f"block_{n}.pool_size": 2 for n in (1, 2)},
    **{f"block_{n}.convolutions": 2 for n in (1, 2)},
    "block_1.filters": 32,
    "block_2.filters": 64,
    "dense_layers": 1,
    "dense_1.units": 256,
    "optimizer": "adam",
    "learning_rate": 0.003,
    "batch_size": 32,
}
DROPOUT = {"block_1.dropout": 0.1, "block_2.dropout": 0.1, "dense_1.dropout": 0.3}
NO_DROPOUT = dict.fromkeys(DROPOUT, 0.0)
FULL = DROPOUT | {"schedule": "one_cycle", "weight_decay": 0.01, "label_smoothing": 0.1}


@dataclass(frozen=True)
class Variant:
    """A recipe: what differs in a point's values, and whether it trains on train and validation."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    with_val: bool = False


LIGHT = NETWORK | {f"block_{n}.convolutions": 1 for n in (1, 2)} | {"batch_size": 64}
IN_TIME = LIGHT | FULL | {"learning_rate": 0.002, "flip": "horizontal"}
PLAIN = {"block_1.dropout": 0.0, "block_2.dropout": 0.0, "learning_rate": 0.004, "flip": "none"}
TIMED_VARIANTS = (
    Variant("32-64 filters, dropout 0.1 and 0.3, flips, rate 0.002", IN_TIME),
    Variant("with twice 64 filters", IN_TIME | {"block_2.convolutions": 2}),
    Variant("with 5x5 and 3x3 kernels", IN_TIME | {"block_1.kernel_size": 5}),
    Variant("with 16-64 filters", IN_TIME | {"block_1.filters": 16}),
    Variant("without dropout after the blocks", IN_TIME | {"block_1.dropout": 0.0, "block_2.dropout": 0.0}),
    Variant("with rate 0.004", IN_TIME | {"learning_rate": 0.004}),
    Variant("without dropout after the blocks, with rate 0.004", IN_TIME | PLAIN | {"flip": "horizontal"}),
    Variant("and without flips", IN_TIME | PLAIN),
    Variant("and with rate 0.008", IN_TIME | PLAIN | {"learning_rate": 0.008}),
    Variant("and without label smoothing", IN_TIME | PLAIN | {"label_smoothing": 0.0}),
    Variant("and with dropout 0.1 after the dense layer", IN_TIME | PLAIN | {"dense_1.dropout": 0.1}),
    Variant("and with 16-64 filters", IN_TIME | PLAIN | {"block_1.filters": 16}),
)
VARIANTS = (
    Variant("a constant rate, averaged weights", NO_DROPOUT | {"schedule": "constant"}),
    Variant("one cycle", NO_DROPOUT | {"schedule": "one_cycle"}),
    Variant("and label smoothing, weight decay", FULL | NO_DROPOUT),
    Variant("and dropout", FULL),
    Variant("and shifts", FULL | {"shift": 0.1}),
    Variant("all without shifts, on train and validation", FULL, with_val=True),
    Variant("all with shifts, on train and validation", FULL | {"shift": 0.1}, with_val=True),
)


def accuracy(
    variant: Variant, dataset: Dataset, epochs: int, seed: int, within: float | None = None
) -> tuple[float, float]:
    """The test accuracy and the seconds of a training, of so many epochs or as many as the time allows."""
    output, values = Output(dataset.task, dataset.outputs), NETWORK | variant.values
    steps = epochs * math.ceil(len(dataset.train) / int(values["batch_size"]))
    with tempfile.TemporaryDirectory() as folder:
        state, objective = str(Path(folder) / "state.npz"), choose_objective(dataset.task, None)
        job = Job(1, 1, values, dataset.image_shape, output, objective, epochs, seed, state, course_steps=steps)
        job = Job(**(vars(job) | {"with_val": variant.with_val, "seconds": within}))
        started = time.monotonic()
        result = fit.train(job, Data(dataset.train, dataset.val), lambda epoch: None, lambda: False)
        seconds = time.monotonic() - started
        if result.status != "completed":
            raise SystemExit(f"{variant.name}: {result.status}: {result.message}")
        found = fit.predict(fit.load_best(job), dataset.test.x)
    return scores.measure(dataset.task, dataset.test.y, found)["accuracy"], seconds


def row(name: str, found: list[float], seconds: list[float]) -> str:
    each = " ".join(f"{value:.4f}" for value in found)
    return f"| {name} | {statistics.mean(found):.4f} | {min(found):.4f} | {each} | {statistics.mean(seconds):.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=3, help="splits and first weights (default: 3)")
    parser.add_argument("--epochs", type=int, default=40, help="of each training (default: 40)")
    parser.add_argument("--seconds", type=float, help="of each training, in the place of epochs")
    parser.add_argument("--threads", type=int, default=2, help="of TensorFlow (default: 2)")
    arguments = parser.parse_args()
    devices.set_up(Settings("", "", threads=arguments.threads))
    sets = [registry.load(arguments.data, DataOptions(seed=seed)) for seed in range(arguments.seeds)]
    within = arguments.seconds
    epochs, variants = (arguments.epochs, VARIANTS) if within is None else (MOST_EPOCHS, TIMED_VARIANTS)
    length = f"{epochs} epochs" if within is None else f"{within:g} seconds"
    print(f"| {arguments.data}, {length} | test accuracy | least | each seed | seconds |")
    print("|---|---|---|---|---|")
    simple = [{each.name: each for each in baselines.measure(dataset)}["RBF SVM"] for dataset in sets]
    print(row("RBF SVM", [each.test["accuracy"] for each in simple], [each.seconds for each in simple]), flush=True)
    for variant in variants:
        found = [accuracy(variant, dataset, epochs, 100 + seed, within) for seed, dataset in enumerate(sets)]
        print(row(variant.name, [value for value, _ in found], [seconds for _, seconds in found]), flush=True)


if __name__ == "__main__":
    main()
