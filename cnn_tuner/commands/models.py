"""cnn-tuner export, verify, evaluate, predict: use what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cnn_tuner.api import exported, words
from cnn_tuner.api.words import RUNS
from cnn_tuner.commands import completing
from cnn_tuner.commands.data_options import ImageColumnOption, LabelColumnOption, SplitColumnOption
from cnn_tuner.commands.options import (
    JsonOption,
    ModelArgument,
    RunArgument,
    RunsOption,
    command_line,
    open_export,
    open_run,
)
from cnn_tuner.commands.output import say
from cnn_tuner.errors import UsageError
from cnn_tuner.metrics import strict_json
from cnn_tuner.terminal.screen import console


def export(
    run: RunArgument = None,
    trial: Annotated[
        int | None, typer.Option(help="A trial of the run, to be trained to the end. Default: the winner.")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            autocompletion=completing.formats,
            help="Formats beside the SavedModel, with commas: keras, litert, litert_int8, onnx. Default: the run's.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(autocompletion=completing.data, help="Where the run's images lie now, if they have moved."),
    ] = None,
    folder: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Export a run's best model again, or another trial's, as the next version, and verify it in a new process.

    A run that was cut short has its finalists trained to the end first.
    """
    from cnn_tuner.api import running
    from cnn_tuner.terminal import live_view, tables

    chosen = words.formats(formats)
    opened = open_run(folder, run)
    reporter = live_view.reporter(console(as_json))
    kept = words.cache_options()
    made = running.export(opened, reporter, trial, chosen, data, kept, command_line())
    reporter.line(f"export    {made.path}")
    reporter.line(tables.verified_line(made.differences))
    if as_json:
        facts = {"run": opened.folder.name, "export": str(made.path), "verified": made.differences}
        print(strict_json.dumps(facts))


def verify(
    model: ModelArgument = None,
    runs: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Verify an export by its own files, from checksums to accuracy; each of its formats is read by a new process.

    Ends with exit code 4 when a step fails. Needs neither the run nor its data.
    """
    folder = open_export(runs, model)
    steps = []
    for step in exported.verified(folder):
        steps.append(step)
        if not as_json:
            say(f"{step.name:<14}  {step.status}   {step.text}")
    skipped = [step.name for step in steps if step.status == "skipped"]
    if as_json:
        print(strict_json.dumps({"export": str(folder), "steps": [vars(step) for step in steps], "skipped": skipped}))
        return
    say(f"verified        {folder}" + (f", but nothing was read of {', '.join(skipped)}" if skipped else ""))


def evaluate(
    model: ModelArgument = None,
    data: Annotated[
        str | None,
        typer.Option(
            autocompletion=completing.data,
            help="digits, ..., idx:DIR, npz:FILE, or a folder of class folders. Default: the run's own.",
        ),
    ] = None,
    all_parts: Annotated[
        bool, typer.Option("--all-parts", help="With --data: every image, not the test part alone.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="With --data: decides the test part that is split off.")] = None,
    test_fraction: Annotated[
        float | None, typer.Option(help="With --data: share for the test, where the data has no such part.")
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="With --data: skip images that cannot be read.")
    ] = False,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="With --data: read what links in an image folder lead to.")
    ] = False,
    leave_out: Annotated[
        list[str] | None, typer.Option("--leave-out", help="With --data: a folder in it that is no data; repeatable.")
    ] = None,
    image_column: ImageColumnOption = None,
    label_column: LabelColumnOption = None,
    split_column: SplitColumnOption = None,
    folder: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a run's newest export on the run's test part, or with --data any export on any data.

    Metrics come with 95 % intervals, and each class by itself.
    """
    from rich.markup import escape
    from rich.table import Table

    from cnn_tuner.data.files import printable
    from cnn_tuner.report import texts

    options: dict[str, Any] = {"seed": seed, "test_fraction": test_fraction, "skip_broken": skip_broken or None}
    options |= {"follow_links": follow_links or None, "leave_out": leave_out or None, "image_column": image_column}
    options |= {"label_column": label_column or None, "split_column": split_column, "all_parts": all_parts or None}
    given = {name: value for name, value in options.items() if value is not None}
    if data is None:
        found = _on_own_data(model, folder, given)
    else:
        export = open_export(folder, model)
        found = exported.evaluated(export, data, **given)
    if as_json:
        print(strict_json.dumps(found))
        return
    intervals = found["intervals"]
    measured = ", ".join(texts.metric(name, value, intervals.get(name)) for name, value in found["test"].items())
    kind = "test images" if found["parts"] == ["test"] else "images"
    say(f"{found['export']}: {measured} on {found['images']:,} {kind}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("class", "precision", "recall", "f1", "images"):
        table.add_column(title, justify="left" if title == "class" else "right")
    for row in found["classes"]:
        numbers = ("-" if row[key] is None else f"{row[key]:.3f}" for key in ("precision", "recall", "f1"))
        table.add_row(escape(printable(row["class"])), *numbers, f"{row['images']:,}")
    if found["classes"]:
        console().print(table)


def _on_own_data(model: str | None, folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    from cnn_tuner.runs.folders import find_export
    from cnn_tuner.search.tuning import evaluate_run

    for name in given:
        raise UsageError(f"--{name.replace('_', '-')}: goes with --data; a run's own data has its test part already")
    if model is not None and find_export(folder, model) is not None:
        raise UsageError(f"{model}: an export is without its data; name some with --data, such as --data photos/")
    opened = open_run(folder, model)
    return evaluate_run(opened, cache=words.cache_options())
