"""cnn-tuner tune, resume, extend: begin a run, or go on with one."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnn_tuner.commands.data_options import CacheLimitOption, CacheOption, cache_options
from cnn_tuner.commands.options import (
    HANG_SECONDS,
    RUNS,
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
    budget_seconds,
    check_precision,
    command_line,
    open_run,
    worker_options,
)
from cnn_tuner.commands.output import INTERRUPTED, console
from cnn_tuner.commands.quiet import quiet_tensorflow
from cnn_tuner.commands.searching import takes_a_search
from cnn_tuner.errors import UsageError, VerificationError
from cnn_tuner.metrics import strict_json

if TYPE_CHECKING:
    from cnn_tuner.runs.machine import Workers
    from cnn_tuner.search.resuming import Resuming, Wishes
    from cnn_tuner.search.session import Session
    from cnn_tuner.search.tuning import Request, Tuning
    from cnn_tuner.terminal.reporters import Reporter

HANGUP = getattr(signal, "SIGHUP", None)  # not on Windows
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

    --budget says how long all of that may take; cnn-tuner plan says what it buys. Ctrl-C ends the search with the best
    so far exported; a second Ctrl-C ends at once.
    """
    from cnn_tuner.search.tuning import Tuning

    _run(lambda observer: Tuning(request, observer), as_json)


def resume(
    run: RunArgument = None,
    space: Annotated[str | None, typer.Option(help="Go on with another search space.")] = None,
    data: Annotated[str | None, typer.Option(help="Where the run's images lie now.")] = None,
    oracle: Annotated[str | None, typer.Option(help="Go on with another oracle.")] = None,
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
    from cnn_tuner.search.resuming import Wishes

    settings = {
        "oracle": oracle,
        "sampler": sampler,
        "objective": objective,
        "budget_seconds": budget_seconds("--budget", budget),
        "max_trials": max_trials,
        "epochs": max_epochs,
        "finalists": finalists,
        "final_seeds": final_seeds,
        "final_epochs": final_epochs,
        "seed": seed,
        "keep": keep,
        "precision": None if precision is None else check_precision(precision),
    }
    kept = cache_options(cache, cache_limit)
    wishes = Wishes(settings, space, data, accepts_changes=accept_changes, keeps_space=keep_space, cache=kept)
    asked = worker_options(workers, "auto", timeout, executor, address, cpus_per_trial, gpus_per_trial, shared_dir)
    _go_on(run, folder, wishes, asked, as_json)


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
    from cnn_tuner.search.resuming import Wishes

    if (budget is None) == (trials is None):
        raise UsageError("extend: how much more? name one of --budget and --trials, such as --budget 10m")
    more_seconds = budget_seconds("--budget", budget)
    wishes = Wishes(
        more_trials=trials,
        more_seconds=more_seconds,
        accepts_changes=accept_changes,
        keeps_space=keep_space,
        cache=cache_options(cache, cache_limit),
    )
    asked = worker_options(workers, "auto", timeout, executor, address, cpus_per_trial, gpus_per_trial, shared_dir)
    _go_on(run, folder, wishes, asked, as_json)


def _go_on(run: str | None, folder: Path, wishes: Wishes, workers: Workers, as_json: bool) -> None:
    from cnn_tuner.search.resuming import Resuming

    opened = open_run(folder, run)
    _run(lambda observer: Resuming(opened, wishes, observer, workers, command_line()), as_json)


def _run(make: Callable[[Reporter], Tuning | Resuming], as_json: bool) -> None:
    """Runs a session to its end and shows what it found."""
    from cnn_tuner.runs.pareto import front
    from cnn_tuner.runs.records import ranked
    from cnn_tuner.terminal import live_view, pareto_table, tables

    screen = console(as_json)
    reporter = live_view.reporter(screen)
    session = make(reporter)
    try:
        with _stopping_on_signal(session, reporter.line), quiet_tensorflow():
            outcome = session.run()
    except KeyboardInterrupt:
        reporter.close()
        if reporter.run is not None:
            name = reporter.run.folder.name
            reporter.line(f"ended at once; cnn-tuner resume {name} goes on, cnn-tuner export {name} exports the best")
        raise
    finally:
        reporter.close()
    screen.print()
    screen.print(tables.trials_table(ranked(outcome.trials, outcome.objective)[:TOP], outcome.objective))
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
    if outcome.unmet:
        raise VerificationError(f"the export lacks a format: {outcome.unmet}")
    if outcome.is_interrupted:
        raise typer.Exit(INTERRUPTED)


def _program() -> str:
    """The command as it can be typed here: `make tune` runs it from a folder that is not on the PATH."""
    here = os.path.relpath(sys.argv[0])
    if Path(here).name == "__main__.py":
        return f"{Path(sys.executable).name} -m cnn_tuner"
    return "cnn-tuner" if shutil.which("cnn-tuner") or here.startswith("..") else here


@contextmanager
def _stopping_on_signal(session: Session, say: Callable[[str], None]) -> Iterator[None]:
    """While inside, the first Ctrl-C (or SIGTERM) asks the run to end with its best exported; the second ends it.

    So does a terminal that is closed or lost, which can be written to no more; under `nohup` nothing happens then.
    """

    def stop(number: int, frame: object) -> None:
        if number == HANGUP:
            _let_go_of_the_terminal()
        if session.is_stopping or not session.has_begun:
            raise KeyboardInterrupt
        session.request_stop()
        say("stopping: the best so far will be exported; Ctrl-C again ends at once")

    numbers = [signal.SIGINT, signal.SIGTERM]
    if HANGUP is not None and signal.getsignal(HANGUP) != signal.SIG_IGN:
        numbers.append(HANGUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _let_go_of_the_terminal() -> None:
    """Has what would be written to a terminal go nowhere. One that is lost is no terminal any more, but a device."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(number).st_mode):
                os.dup2(nowhere, number)
    os.close(nowhere)
