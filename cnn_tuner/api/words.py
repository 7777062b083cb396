"""What a person says of a search, as words of a command or as values of Python, brought to one form; and back."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn_tuner.errors import CnnTunerError, UsageError

if TYPE_CHECKING:
    from cnn_tuner.data.cache import Cache
    from cnn_tuner.runs.machine import Cluster, Workers
    from cnn_tuner.spaces.rules import Limits

FOLDER, LIMIT = "CNN_TUNER_CACHE", "CNN_TUNER_CACHE_LIMIT"  # environment variables
RUNS = Path("runs")
HANG_SECONDS = 300.0  # machine.HANG_SECONDS, whose module would slow --help down
# Flags that are called otherwise in Python, and those that are switched on.
KEYWORDS = {"and": "cost", "format": "formats", "no-refit": "refit=False", "epochs": "max_epochs", "output": "path"}
SWITCHES = ("skip-broken", "follow-links", "allow-leakage", "accept-changes", "keep-space", "all-parts")


def latency_seconds(value: str | float | None) -> float | None:
    """`2ms` in seconds, which a number is already."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", value) if isinstance(value, str) else None
    seconds = 0.0 if isinstance(value, str) else value
    if found is not None:
        seconds = float(found[1]) / (1000 if found[2] == "ms" else 1)
    if not 0 < seconds < math.inf:
        raise UsageError(f"--max-latency: must be a time above 0 such as 2ms or 0.5s, got {value!r}")
    return seconds


def budget_seconds(flag: str, value: str | float | None) -> float | None:
    """`30m` in seconds, which a number is already."""
    from cnn_tuner.runs import budget

    if value is None:
        return None
    return budget.parse_seconds(flag, value) if isinstance(value, str) else budget.checked(flag, float(value), value)


def limits(max_params: int | None, max_macs: int | None, max_activation_bytes: int | None) -> Limits:
    """The limits that were asked for beside those of the space."""
    from cnn_tuner.spaces.rules import Limits

    given = {"max_params": max_params, "max_macs": max_macs, "max_activation_bytes": max_activation_bytes}
    for name, value in given.items():
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')}: must be a whole number >= 1, got {value}")
    return Limits(**given)


def check_precision(text: str) -> Any:
    if text not in ("auto", "float32", "bfloat16"):
        raise UsageError(f"--precision: unknown: {text!r}; choices: auto, float32, bfloat16")
    return text


def check_prefer(text: str) -> Any:
    if text not in ("accurate", "small"):
        raise UsageError(f"--prefer: unknown: {text!r}; choices: accurate, small")
    return text


def sizes(flag: str, value: str | Sequence[int], count: int) -> Any:
    """`28x28x1` as a tuple of whole numbers, which (28, 28, 1) is already."""
    parts = value.lower().split("x") if isinstance(value, str) else [str(each) for each in value]
    if len(parts) != count or not all(part.isdecimal() and int(part) > 0 for part in parts):
        form = "x".join(("HEIGHT", "WIDTH", "CHANNELS")[:count])
        raise UsageError(f"{flag}: must be {form} in whole numbers >= 1, got {value!r}")
    return tuple(map(int, parts))


def names(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """None, one or several of them."""
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def formats(value: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """`keras,onnx`, or a sequence of such, with the SavedModel; None where nothing is said.

    Raises:
        UsageError: one is unknown, or lacks a package.
    """
    from cnn_tuner.export.formats import registry

    if value is None:
        return None
    return registry.choose(value if isinstance(value, str) else ",".join(value) or registry.SAVED_MODEL)


def thresholds(value: str | float | None, folder: Path, task: str, classes: int) -> tuple[float, ...]:
    """From which probability on a label is there, or the second of two classes; one a unit of the last layer.

    Args:
        value: a number, or `val` for what the validation part says; None: nothing is said.
        folder: the export that is asked. task, classes: what it answers.
    """
    from cnn_tuner.export import manifest

    if value is None:
        return ()
    if task not in ("binary", "multilabel"):
        raise UsageError(f"--threshold: is for two classes, or for labels; {folder} is of a {task} task")
    if value == "val":
        found = manifest.read(folder).thresholds
        if not found:
            raise UsageError(f"--threshold val: {folder} was exported without; cnn-tuner export makes a new one")
        return found
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise UsageError(f"--threshold: must be a number from 0 to 1, or val, got {value!r}")
    return (number,) * (1 if task == "binary" else classes)


def cache_options(folder: str | os.PathLike[str] | None = None, limit: str | int | None = None) -> Cache | None:
    """The cache that is asked for, or that the environment names, which shows how far it is in a terminal."""
    from cnn_tuner.data import cache
    from cnn_tuner.terminal.progress import Bar

    asked, place = "" if limit is None else str(limit), "" if folder is None else os.fspath(folder)
    name = "--cache-limit" if asked else LIMIT
    return cache.chosen(place or os.environ.get(FOLDER), asked or os.environ.get(LIMIT), name, Bar("decoding"))


def worker_options(
    workers: str | int | None = None,
    precision: str = "auto",
    timeout: float = HANG_SECONDS,
    executor: str | None = None,
    address: str | None = None,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
    shared_dir: str | os.PathLike[str] | None = None,
) -> Workers:
    """With what a run is trained; `auto` is left to be chosen."""
    from cnn_tuner.runs.machine import Workers

    count = None
    if workers is not None and workers != "auto":
        if not (str(workers).isdecimal() and int(workers) > 0):
            raise UsageError(f"--workers: must be a whole number >= 1, or auto, got {workers!r}")
        count = int(workers)
    if not timeout > 0:
        raise UsageError(f"--timeout: must be a number of seconds above 0, got {timeout:g}")
    cluster = _cluster(executor, address, cpus_per_trial, gpus_per_trial, shared_dir)
    return Workers(
        count=count,
        precision=None if check_precision(precision) == "auto" else check_precision(precision),
        hang_seconds=timeout,
        executor="processes" if cluster is None else "ray",
        cluster=cluster,
        must_measure=workers == "auto",
    )


def _cluster(
    executor: str | None,
    address: str | None,
    cpus_per_trial: float | None,
    gpus_per_trial: float | None,
    shared_dir: str | os.PathLike[str] | None,
) -> Cluster | None:
    """Where trials are trained on Ray; None where they are not."""
    from cnn_tuner.executors.registry import choose
    from cnn_tuner.runs.machine import Cluster

    chosen = choose(executor, "processes" if address is None else "ray")
    given = {
        "--address": address,
        "--cpus-per-trial": cpus_per_trial,
        "--gpus-per-trial": gpus_per_trial,
        "--shared-dir": shared_dir,
    }
    if chosen != "ray":
        for flag, value in given.items():
            if value is not None:
                raise UsageError(f"{flag}: is for a cluster; add --executor ray")
        return None
    cpus, gpus = 1.0 if cpus_per_trial is None else cpus_per_trial, gpus_per_trial or 0.0
    if not (0 <= cpus < math.inf and 0 <= gpus < math.inf and cpus + gpus > 0):
        raise UsageError(
            f"--cpus-per-trial and --gpus-per-trial: must be >= 0, one of them above, got {cpus:g}, {gpus:g}"
        )
    for flag, number in (("--cpus-per-trial", cpus), ("--gpus-per-trial", gpus)):
        if number > 1 and number != int(number):
            raise UsageError(f"{flag}: above 1 it must be a whole number, got {number:g}")
    if shared_dir is not None and not Path(shared_dir).is_dir():
        raise UsageError(f"--shared-dir {shared_dir}: no such folder; it is one that all nodes see")
    return Cluster(address, cpus, gpus, None if shared_dir is None else str(Path(shared_dir).absolute()))


def keywords(text: str) -> str:
    """A message as a Python program can follow it: `--max-trials` is `max_trials`; whole commands stay as they are."""
    pieces = re.split(r"(cnn-tuner [^;,]*)", text)  # every other one is a command
    pieces[::2] = (re.sub(r"(?<![\w-])--([a-z][a-z-]*)(:?)", _keyword, piece) for piece in pieces[::2])
    return "".join(pieces)


def _keyword(flag: re.Match[str]) -> str:
    is_on = flag[1] in SWITCHES and not flag[2]
    return KEYWORDS.get(flag[1], flag[1].replace("-", "_") + ("=True" if is_on else "")) + flag[2]


@contextmanager
def told_in_keywords() -> Iterator[None]:
    """Has errors speak of keywords, not of flags."""
    try:
        yield
    except CnnTunerError as error:
        error.args = (keywords(str(error)), *error.args[1:])
        raise
