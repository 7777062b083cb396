"""cnn-tuner runs, show, steps: look at what was searched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnn_tuner.api.words import RUNS, sizes
from cnn_tuner.commands import completing
from cnn_tuner.commands.options import JsonOption, RunArgument, RunsOption, multiclass, open_run
from cnn_tuner.commands.output import say
from cnn_tuner.errors import CnnTunerError, UsageError
from cnn_tuner.metrics import strict_json
from cnn_tuner.terminal.screen import console

if TYPE_CHECKING:
    from cnn_tuner.runs.records import Trial, Winner
    from cnn_tuner.runs.store import RunStore


def runs(folder: RunsOption = RUNS, as_json: JsonOption = False) -> None:
    """List the runs, the oldest first."""
    from rich.table import Table

    from cnn_tuner.report import texts
    from cnn_tuner.runs import folders
    from cnn_tuner.runs.store import RunStore

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("run", "state", "trials", "objective", "best", "test"):
        table.add_column(title, no_wrap=True)
    rows: list[dict[str, Any]] = []
    for path in folders.run_folders(folder):
        try:
            run = RunStore.open(path)
        except CnnTunerError:  # cnn-tuner show tells why; the others are to be listed all the same
            rows.append({"run": path.name, "state": "unreadable", "trials": None, "best": None, "test": {}})
            table.add_row(path.name, "unreadable", "-", "-", "-", "-")
            continue
        best, winner, trials = run.best_trial(), run.winner(), run.trials()
        state = "complete" if run.is_complete else "at work" if run.is_at_work else "unfinished"
        score = winner.score if winner else best.score if best else None
        test = winner.test if winner else {}
        rows.append({"run": path.name, "state": state, "trials": len(trials), "best": score, "test": test})
        test_text = ", ".join(f"{metric} {texts.score(value)}" for metric, value in test.items()) or "-"
        objective = run.config.search.objective
        table.add_row(path.name, state, str(len(trials)), objective, texts.score(score), test_text)
        run.close()
    if as_json:
        print(strict_json.dumps(rows))
    elif rows:
        console().print(table)
    else:
        print(f"{folder}: no runs yet; start one with cnn-tuner tune")


def show(
    run: RunArgument = None,
    sort: Annotated[
        str,
        typer.Option(help="By score, trial, epoch, params, macs, seconds or a hyperparameter; -params falls."),
    ] = "score",
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only trials like params<50000, status=failed, block_1.filters=32. Again for more."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="So many trials at most. Default: all.")] = None,
    folder: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Show a run: its trials, which hyperparameters mattered, and the winner with its scores side by side."""
    from dataclasses import asdict

    from cnn_tuner.analysis.importance import importances
    from cnn_tuner.runs.pareto import front
    from cnn_tuner.runs.selection import select
    from cnn_tuner.terminal import importance_table, pareto_table

    opened = open_run(folder, run)
    trials, winner, config = opened.trials(), opened.winner(), opened.config
    names = [parameter.name for parameter in config.search_space().parameters]
    chosen = select(trials, config.objective, names, where or (), sort, limit)
    mattered = importances(trials, config.search_space(), config.objective, config.search.seed)
    cost = config.search.cost
    pareto = [] if cost is None else front(trials, config.objective, cost)
    if as_json:
        facts: dict[str, Any] = {"run": opened.folder.name, "config": config.model_dump(mode="json")}
        facts |= {"trials": [asdict(t) for t in chosen], "winner": winner and asdict(winner)}
        print(strict_json.dumps(facts | {"importance": asdict(mattered), "front": [trial.number for trial in pareto]}))
        return
    _show_trials(opened, chosen, len(trials))
    if cost is not None:
        say(pareto_table.headline(pareto, config.objective, cost))
        console().print(pareto_table.table(pareto, config.objective, cost), "")
    say(importance_table.headline(mattered))
    if mattered.clear:
        console().print(importance_table.table(mattered))
    console().print()
    _show_winner(opened, winner)


def _show_trials(opened: RunStore, chosen: list[Trial], total: int) -> None:
    from cnn_tuner.report import texts
    from cnn_tuner.terminal import tables

    config, screen = opened.config, console()
    search, data = config.search, config.data
    say(f"{opened.folder}: {search.method} search of {config.space_name}, seed {search.seed}, {config.created}")
    say(f"{data.source}: images of {texts.shape(data.image_shape)}, {data.task}")
    screen.print()
    screen.print(tables.trials_table(chosen, config.objective, screen.width))
    if len(chosen) < total:
        say(f"{len(chosen)} of {total} trials")
    screen.print()


def _show_winner(opened: RunStore, winner: Winner | None) -> None:
    from cnn_tuner.terminal import tables

    name, objective = opened.folder.name, opened.config.search.objective
    if winner is None:
        say(f"no winner yet: cnn-tuner resume {name} goes on, cnn-tuner export {name} exports the best so far")
        return
    console().print(tables.finalists_table(winner, objective), "")
    for line in tables.winner_lines(winner, objective):
        say(line)
    for path in sorted(opened.folder.glob("export/*/*")):
        say(f"export    {path}")


def export_trials(
    run: RunArgument = None,
    format: Annotated[str, typer.Option("--format", help="csv, json or parquet.")] = "csv",
    output: Annotated[Path | None, typer.Option("--output", help="A file. Default: standard output.")] = None,
    folder: RunsOption = RUNS,
) -> None:
    """Write a run's whole history: every epoch of every trial, times, memory, seeds, and why trials failed.

    CSV and Parquet have a row an epoch; JSON has the trials with their jobs, and the run's config and sessions.
    """
    import sys

    from cnn_tuner.runs import history

    history.check_format(format)
    opened = open_run(folder, run)
    if output is not None:
        history.write(opened, format, output)
        say(f"{output}: {opened.last_trial()} trials of {opened.folder.name}")
        return
    if format == "parquet" and sys.stdout.isatty():
        raise UsageError("--format parquet: is not for a terminal; name a file with --output")
    sys.stdout.buffer.write(history.WRITERS[format](opened))
    sys.stdout.flush()


def steps(
    run: RunArgument = None,
    trial: Annotated[int | None, typer.Option(help="One of the run's trials. Default: its best.")] = None,
    space: Annotated[
        str | None, typer.Option(autocompletion=completing.spaces, help="Draw a point of this space instead.")
    ] = None,
    image: Annotated[str, typer.Option(help="With --space: HEIGHTxWIDTHxCHANNELS.")] = "28x28x1",
    classes: Annotated[int, typer.Option(help="With --space: units of the last layer.")] = 10,
    seed: Annotated[int, typer.Option(help="With --space: which point is drawn.")] = 0,
    folder: RunsOption = RUNS,
) -> None:
    """Print one architecture as the seven steps, with shapes, parameters and multiply-adds."""
    from cnn_tuner.spaces import architecture, tree
    from cnn_tuner.terminal import tables

    if space is not None:
        if run is not None or trial is not None:
            raise UsageError("--space: shows a point of a space, so it takes no RUN and no --trial")
        shape, output = sizes("--image", image, 3), multiclass(classes)
        [point] = architecture.sample_feasible(tree.load(space), shape, output, 1, seed)
        plan = architecture.build(point, shape, output)
    else:
        opened = open_run(folder, run)
        opened.config.check_seven_steps("steps")
        shown = _trial(opened, trial)
        say(f"{opened.folder.name}, trial {shown.number}")
        plan = architecture.build(shown.values, opened.config.data.image_shape, opened.config.output)
    screen = console()
    screen.print(tables.steps_table(plan, screen.width))


def _trial(opened: RunStore, number: int | None) -> Trial:
    found = opened.best_trial() if number is None else {t.number: t for t in opened.trials()}.get(number)
    if found is None:
        known = ", ".join(str(t.number) for t in opened.trials()) or "none yet"
        raise UsageError(f"--trial: {opened.folder.name} has no such trial: {number}; choices: {known}")
    return found
