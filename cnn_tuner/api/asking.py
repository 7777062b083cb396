"""What is asked of a search, as keywords, brought to the records that `cnn_tuner.search` takes.

The keywords are the flags of the command line with underscores, but for a few: `cost` is --and, `formats` --format, and
`refit=False` --no-refit. What each means is told by `cnn_tuner.tune`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from cnn_tuner.api import words
from cnn_tuner.api.words import HANG_SECONDS, RUNS
from cnn_tuner.errors import UsageError

if TYPE_CHECKING:
    from cnn_tuner.runs.machine import Workers
    from cnn_tuner.search.resuming import Wishes
    from cnn_tuner.search.tuning import Request


def request(
    data: Any = "digits",
    space: str | Path | None = None,
    *,
    task: str | None = None,
    budget: str | float | None = None,
    max_trials: int | None = None,
    max_epochs: int | None = None,
    max_params: int | None = None,
    max_macs: int | None = None,
    max_activation_bytes: int | None = None,
    oracle: str | None = None,
    sampler: str | None = None,
    objective: str | None = None,
    cost: str | None = None,
    max_latency: str | float | None = None,
    finalists: int = 3,
    final_seeds: int | None = None,
    final_epochs: int | None = None,
    refit: bool = True,
    prefer: str = "accurate",
    seed: int = 0,
    val_fraction: float | None = None,
    test_fraction: float = 0.2,
    folds: int | None = None,
    image_size: str | tuple[int, int] | None = None,
    channels: int | None = None,
    fit: str = "stretch",
    skip_broken: bool = False,
    follow_links: bool = False,
    leave_out: str | Sequence[str] | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    group_by: str | None = None,
    split: str | Path | None = None,
    allow_leakage: bool = False,
    cache: str | Path | None = None,
    cache_limit: str | int | None = None,
    keep: int = 3,
    formats: str | Sequence[str] | None = None,
    workers: str | int | None = None,
    executor: str | None = None,
    address: str | None = None,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
    shared_dir: str | Path | None = None,
    precision: str = "auto",
    timeout: float = HANG_SECONDS,
    name: str | None = None,
    runs: str | Path = RUNS,
    hypermodel: Any = None,
    command: str = "",
) -> Request:
    """What is asked of a new run. `command`: as it was typed, or called.

    Raises:
        UsageError: a value breaks its rule.
    """
    from cnn_tuner.data.calling import GIVEN
    from cnn_tuner.data.files import expanded
    from cnn_tuner.data.options import DataOptions
    from cnn_tuner.export.formats.registry import SAVED_MODEL
    from cnn_tuner.search.tuning import Request

    if data is None:
        raise UsageError("--data: must be images with labels, or say where they lie, got None")
    is_named = isinstance(data, (str, Path))
    options = DataOptions(
        task=task,
        seed=seed,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        folds=folds,
        image_size=None if image_size is None else words.sizes("--image-size", image_size, 2),
        channels=channels,
        fit=fit,
        skip_broken=skip_broken,
        follow_links=follow_links,
        leave_out=words.names(leave_out),
        group_by=group_by,
        split=None if split is None else str(expanded(str(split)).absolute()),
        allow_leakage=allow_leakage,
        image_column=image_column,
        label_columns=words.names(label_column),
        split_column=split_column,
        group_column=group_column,
    )
    return Request(
        str(data) if is_named else GIVEN,
        None if space is None else str(space),
        options,
        oracle=oracle,
        sampler=sampler,
        objective=objective,
        cost=cost,
        max_latency_seconds=words.latency_seconds(max_latency),
        budget_seconds=words.budget_seconds("--budget", budget),
        max_trials=max_trials,
        epochs=max_epochs,
        final_epochs=final_epochs,
        finalists=finalists,
        final_seeds=final_seeds,
        refits=refit,
        prefer=words.check_prefer(prefer),
        limits=words.limits(max_params, max_macs, max_activation_bytes),
        seed=seed,
        runs=Path(runs).expanduser(),
        name=name,
        command=command,
        workers=words.worker_options(
            workers, precision, timeout, executor, address, cpus_per_trial, gpus_per_trial, shared_dir
        ),
        keep=keep,
        formats=words.formats(formats) or (SAVED_MODEL,),
        cache=words.cache_options(cache, cache_limit),
        given=None if is_named else data,
        hypermodel=hypermodel,
    )


def resuming(
    space: str | Path | None = None,
    data: Any = None,
    *,
    oracle: str | None = None,
    objective: str | None = None,
    sampler: str | None = None,
    budget: str | float | None = None,
    max_trials: int | None = None,
    max_epochs: int | None = None,
    finalists: int | None = None,
    final_seeds: int | None = None,
    final_epochs: int | None = None,
    seed: int | None = None,
    keep: int | None = None,
    accept_changes: bool = False,
    keep_space: bool = False,
    workers: str | int | None = None,
    executor: str | None = None,
    address: str | None = None,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
    shared_dir: str | Path | None = None,
    precision: str | None = None,
    timeout: float = HANG_SECONDS,
    cache: str | Path | None = None,
    cache_limit: str | int | None = None,
    hypermodel: Any = None,
) -> tuple[Wishes, Workers]:
    """What is to be otherwise in a run that is gone on with, and with what it is trained.

    Raises:
        UsageError: a value breaks its rule.
    """
    from cnn_tuner.search.resuming import Wishes

    settings = {
        "oracle": oracle,
        "sampler": sampler,
        "objective": objective,
        "budget_seconds": words.budget_seconds("--budget", budget),
        "max_trials": max_trials,
        "epochs": max_epochs,
        "finalists": finalists,
        "final_seeds": final_seeds,
        "final_epochs": final_epochs,
        "seed": seed,
        "keep": keep,
        "precision": None if precision is None else words.check_precision(precision),
    }
    wishes = Wishes(
        settings,
        None if space is None else str(space),
        moved(data),
        accepts_changes=accept_changes,
        keeps_space=keep_space,
        cache=words.cache_options(cache, cache_limit),
        hypermodel=hypermodel,
    )
    return wishes, words.worker_options(
        workers, "auto", timeout, executor, address, cpus_per_trial, gpus_per_trial, shared_dir
    )


def extending(
    budget: str | float | None = None,
    trials: int | None = None,
    *,
    data: Any = None,
    accept_changes: bool = False,
    keep_space: bool = False,
    workers: str | int | None = None,
    executor: str | None = None,
    address: str | None = None,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
    shared_dir: str | Path | None = None,
    timeout: float = HANG_SECONDS,
    cache: str | Path | None = None,
    cache_limit: str | int | None = None,
    hypermodel: Any = None,
) -> tuple[Wishes, Workers]:
    """How much more is asked of a finished run, and with what it is trained.

    Raises:
        UsageError: a value breaks its rule, or not one of budget and trials is named.
    """
    from cnn_tuner.search.resuming import Wishes

    if (budget is None) == (trials is None):
        raise UsageError("extend: how much more? name one of --budget and --trials, such as --budget 10m")
    wishes = Wishes(
        data=moved(data),
        more_trials=trials,
        more_seconds=words.budget_seconds("--budget", budget),
        accepts_changes=accept_changes,
        keeps_space=keep_space,
        cache=words.cache_options(cache, cache_limit),
        hypermodel=hypermodel,
    )
    return wishes, words.worker_options(
        workers, "auto", timeout, executor, address, cpus_per_trial, gpus_per_trial, shared_dir
    )


def moved(data: Any) -> Any:
    """Where a run's images lie now: a name, or data in memory; None where they were."""
    return str(data) if isinstance(data, Path) else data


def call(function: str, asked: Callable[..., Any], given: dict[str, Any]) -> str:
    """A call as it can be typed again, without what is as it is by default; what is in memory is told by its name.

    Args:
        function: its name. asked: which function here has the same keywords. given: those, with their values.
    """
    defaults = {each.name: each.default for each in inspect.signature(asked).parameters.values()}
    told = []
    for name, value in given.items():
        plain = str(value) if isinstance(value, Path) else value
        if name in ("data", "hypermodel") and not isinstance(plain, (str, NoneType)):
            told.append(f"{name}={name}")
        elif value != defaults[name]:
            told.append(f"{name}={plain!r}")
    return f"{function}({', '.join(told)})"
