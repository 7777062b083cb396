"""cnn-tuner tune, resume, extend: begin a run, or go on with one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnn_tuner.api import asking
from cnn_tuner.api.words import HANG_SECONDS, RUNS
from cnn_tuner.commands import completing
from cnn_tuner.commands.data_options import CacheLimitOption, CacheOption
from cnn_tuner.commands.options import (
    AddressOption,
    BudgetOption,
    CpusOption,
    ExecutorOption,
    FinalEpochsOption,
    GpusOption,
    JsonOption,
    MaxEpochsOption,
    RunArgument,
    RunsOption,
    SharedDirOption,
    TimeoutOption,
    WorkersOption,
    command_line,
    open_run,
)
from cnn_tuner.commands.output import INTERRUPTED
from cnn_tuner.commands.searching import takes_a_search
from cnn_tuner.metrics import strict_json
from cnn_tuner.terminal.screen import console

if TYPE_CHECKING:
    from cnn_tuner.runs.machine import Workers
    from cnn_tuner.search.observer import Observer
    from cnn_tuner.search.resuming import Resuming, Wishes
    from cnn_tuner.search.tuning import Request, Tuning

TOP = 5  # trials in the table that ends a search
AcceptOption = Annotated[
    bool, typer.Option("--accept-changes", help="Go on with what differs from when the run began.")
]
KeepSpaceOption = Annotated[
    bool, typer.Option("--keep-space", help="Go on with the search space as it was, whatever its file says now.")
]


@takes_a_search
def tune(request: Request, as_json: bool) -> None:
    """Search architectures, train the best to the end, evaluate it once on the test part, export and verify it.

    Most need --data and --budget alone, which says how long all of that may take; cnn-tuner plan says what it buys.
    Ctrl-C ends the search with the best so far exported; a second Ctrl-C ends at once.
    """
    from cnn_tuner.search.tuning import Tuning

    _run(lambda observer: Tuning(request, observer), as_json)


def resume(
    run: RunArgument = None,
    space: Annotated[
        str | None, typer.Option(autocompletion=completing.spaces, help="Go on with another search space.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(autocompletion=completing.data, help="Where the run's images lie now.")
    ] = None,
    oracle: Annotated[
        str | None, typer.Option(autocompletion=completing.oracles, help="Go on with another oracle.")
    ] = None,
    objective: Annotated[str | None, typer.Option(help="Refused if it is another: scores would not compare.")] = None,
    sampler: Annotated[str | None, typer.Option(help="Go on with another sampler of asha.")] = None,
    budget: BudgetOption = None,
    max_trials: Annotated[int | None, typer.Option(help="Points to try, in all.")] = None,
    max_epochs: MaxEpochsOption = None,
    finalists: Annotated[int | None, typer.Option(help="Trials that are trained to the end, at most.")] = None,
    final_seeds: Annotated[int | None, typer.Option(help="Seeds for each of them, at most.")] = None,
    final_epochs: FinalEpochsOption = None,
    seed: Annotated[int | None, typer.Option(help="Refused if it is another.")] = None,
    keep: Annotated[int | None, typer.Option(help="Training states to keep on disk.")] = None,
    accept_changes: AcceptOption = False,
    keep_space: KeepSpaceOption = False,
    workers: WorkersOption = None,
    executor: ExecutorOption = None,
    address: AddressOption = None,
    cpus_per_trial: CpusOption = None,
    gpus_per_trial: GpusOption = None,
    shared_dir: SharedDirOption = None,
    precision: Annotated[str | None, typer.Option(help="float32 or bfloat16. Default: the run's.")] = None,
    timeout: TimeoutOption = HANG_SECONDS,
    cache: CacheOption = None,
    cache_limit: CacheLimitOption = None,
    folder: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was stopped or killed: no finished trial is lost, none is run twice.

    What differs from when the run began is named. --accept-changes takes it up where that makes sense.
    """
    _go_on(asking.resuming, **locals())


def extend(
    run: RunArgument = None,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Active time besides what the run has had: 90s, 30m, 1h30m.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Points to try besides those of the run so far.")] = None,
    accept_changes: AcceptOption = False,
    keep_space: KeepSpaceOption = False,
    workers: WorkersOption = None,
    executor: ExecutorOption = None,
    address: AddressOption = None,
    cpus_per_trial: CpusOption = None,
    gpus_per_trial: GpusOption = None,
    shared_dir: SharedDirOption = None,
    timeout: TimeoutOption = HANG_SECONDS,
    cache: CacheOption = None,
    cache_limit: CacheLimitOption = None,
    folder: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Go on with a finished run, for --budget more time or --trials more points, knowing those it has had."""
    _go_on(asking.extending, **locals())


def _go_on(
    asked: Callable[..., tuple[Wishes, Workers]], run: str | None, folder: Path, as_json: bool, **given: Any
) -> None:
    """Goes on with a run; `given` are the keywords of what is `asked`, which the options have the names of."""
    from cnn_tuner.search.resuming import Resuming

    wishes, workers = asked(**given)
    opened = open_run(folder, run)
    _run(lambda observer: Resuming(opened, wishes, observer, workers, command_line()), as_json)


def _run(make: Callable[[Observer], Tuning | Resuming], as_json: bool) -> None:
    """Runs a session to its end and shows what it found."""
    from cnn_tuner.api import running
    from cnn_tuner.api.events import Telling
    from cnn_tuner.runs.pareto import front
    from cnn_tuner.runs.records import ranked
    from cnn_tuner.terminal import live_view, pareto_table, tables

    screen = console(as_json)
    reporter = live_view.reporter(screen)
    outcome = running.run(make, Telling(reporter), is_debug="--debug" in sys.argv)
    screen.print()
    screen.print(tables.trials_table(ranked(outcome.trials, outcome.objective)[:TOP], outcome.objective, screen.width))
    if outcome.cost is not None:
        found = front(outcome.trials, outcome.objective, outcome.cost)
        screen.print()
        reporter.line(pareto_table.headline(found, outcome.objective, outcome.cost))
        screen.print(pareto_table.table(found, outcome.objective, outcome.cost))
    screen.print()
    for line in tables.outcome_lines(outcome, _program()):
        reporter.line(line)
    if as_json:
        print(strict_json.dumps(outcome.to_dict()))
    running.check_formats(outcome)
    if outcome.is_interrupted:
        raise typer.Exit(INTERRUPTED)


def _program() -> str:
    """The command as it can be typed here: `make tune` runs it from a folder that is not on the PATH."""
    here = os.path.relpath(sys.argv[0])
    if Path(here).name == "__main__.py":
        return f"{Path(sys.executable).name} -m cnn_tuner"
    return "cnn-tuner" if shutil.which("cnn-tuner") or here.startswith("..") else here
