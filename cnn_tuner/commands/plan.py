"""cnn-tuner plan: what a search would do, before anything is searched."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from cnn_tuner.commands.options import (
    HANG_SECONDS,
    RUNS,
    BudgetOption,
    JsonOption,
    MaxActivationOption,
    MaxEpochsOption,
    MaxMacsOption,
    MaxParamsOption,
    MaxTrialsOption,
    PrecisionOption,
    RunsOption,
    WorkersOption,
    budget_seconds,
    limits,
    worker_options,
)
from cnn_tuner.commands.output import console, say
from cnn_tuner.commands.quiet import quiet_tensorflow


def plan(
    data: Annotated[str, typer.Option(help="As for cnn-tuner tune.")] = "digits",
    space: Annotated[str, typer.Option(help="A shipped search space by name, or a YAML file.")] = "quick",
    task: Annotated[str | None, typer.Option(help="As for cnn-tuner tune.")] = None,
    budget: BudgetOption = None,
    max_trials: MaxTrialsOption = None,
    max_epochs: MaxEpochsOption = None,
    max_params: MaxParamsOption = None,
    max_macs: MaxMacsOption = None,
    max_activation_bytes: MaxActivationOption = None,
    oracle: Annotated[str | None, typer.Option(help="As for cnn-tuner tune.")] = None,
    workers: WorkersOption = None,
    precision: PrecisionOption = "auto",
    runs: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Say what a budget buys: the space, what is infeasible and why, measured seconds an epoch, trials expected.

    Three points of the space are trained for a moment, which takes about 20 seconds; no run is made.
    """
    from cnn_tuner.data.options import DataOptions
    from cnn_tuner.observer import Silent
    from cnn_tuner.plan_table import plan_lines, points_table
    from cnn_tuner.tuning import Request, Tuning

    request = Request(
        data,
        space,
        DataOptions(task=task),
        oracle=oracle,
        budget_seconds=budget_seconds("--budget", budget),
        max_trials=max_trials,
        epochs=max_epochs,
        limits=limits(max_params, max_macs, max_activation_bytes),
        runs=Path(runs),
        workers=worker_options(workers, precision, HANG_SECONDS),
    )
    tuning = Tuning(request, Silent())
    config, dataset = tuning.prepare()
    with quiet_tensorflow():
        from cnn_tuner.planning import make_plan

        found = make_plan(config, dataset, request.workers, request.runs, time.monotonic() - tuning.began)
    if as_json:
        print(json.dumps(found.to_dict()))
        return
    before, after = plan_lines(config, found)
    for line in before:
        say(line)
    console().print(points_table(found))
    for line in after:
        say(line)
