"""cnn-tuner export, verify, evaluate, predict: use what was found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cnn_tuner.commands.options import (
    HANG_SECONDS,
    RUNS,
    JsonOption,
    RunArgument,
    RunsOption,
    command_line,
    open_run,
    worker_options,
)
from cnn_tuner.commands.output import console, say
from cnn_tuner.commands.quiet import quiet_tensorflow
from cnn_tuner.errors import UsageError


def export(
    run: RunArgument = None,
    trial: Annotated[
        int | None, typer.Option(help="A trial of the run, to be trained to the end. Default: the winner.")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Formats beside the SavedModel, with commas: keras, litert, litert_int8, onnx. Default: none.",
        ),
    ] = None,
    folder: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Export a run's best model again, or another trial's, as the next version, and verify it in a new process.

    A run that was cut short has its finalists trained to the end first.
    """
    from cnn_tuner import live_view, terminal
    from cnn_tuner.export import formats as registry
    from cnn_tuner.session import Session
    from cnn_tuner.tuning import export_run

    chosen = registry.choose(formats)
    opened = open_run(folder, run)
    reporter = live_view.reporter(console(as_json))
    reporter.run = opened
    try:
        with quiet_tensorflow():
            session = Session(reporter, worker_options("1", "auto", HANG_SECONDS), command_line())
            session.formats = chosen
            exported = export_run(opened, session, trial)
    finally:
        reporter.close()
    reporter.line(f"export    {exported.path}")
    reporter.line(terminal.verified_line(exported.differences))
    if as_json:
        print(json.dumps({"run": opened.folder.name, "export": str(exported.path), "verified": exported.differences}))


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of an export.")],
    as_json: JsonOption = False,
) -> None:
    """Verify an export by its own files, from checksums to accuracy; each of its formats is read by a new process.

    Ends with exit code 4 when a step fails. Needs neither the run nor its data.
    """
    with quiet_tensorflow():
        from cnn_tuner.export.verification import verify_folder

        steps = []
        for step in verify_folder(folder):
            steps.append(step)
            if not as_json:
                say(f"{step.name:<14}  {step.status}   {step.text}")
    skipped = [step.name for step in steps if step.status == "skipped"]
    if as_json:
        print(json.dumps({"export": str(folder), "steps": [vars(step) for step in steps], "skipped": skipped}))
        return
    say(f"verified        {folder}" + (f", but nothing was read of {', '.join(skipped)}" if skipped else ""))


def evaluate(run: RunArgument = None, folder: RunsOption = RUNS, as_json: JsonOption = False) -> None:
    """Evaluate a run's newest export on the run's test part: metrics with 95 % intervals, and each class by itself."""
    from rich.markup import escape
    from rich.table import Table

    from cnn_tuner import texts
    from cnn_tuner.tuning import evaluate_run

    opened = open_run(folder, run)
    with quiet_tensorflow():
        found = evaluate_run(opened)
    if as_json:
        print(json.dumps(found))
        return
    intervals = found["intervals"]
    measured = ", ".join(texts.metric(name, value, intervals.get(name)) for name, value in found["test"].items())
    say(f"{found['export']}: {measured} on {found['images']:,} test images")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("class", "precision", "recall", "f1", "images"):
        table.add_column(title, justify="left" if title == "class" else "right")
    for row in found["classes"]:
        numbers = (f"{row[key]:.3f}" for key in ("precision", "recall", "f1"))
        table.add_row(escape(row["class"]), *numbers, f"{row['images']:,}")
    if found["classes"]:
        console().print(table)


def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files: PNG, JPEG, BMP, GIF, WebP.")],
    run: Annotated[str | None, typer.Option("--run", help="A run's name. Default: the newest run.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="A SavedModel folder instead of a run.")] = None,
    folder: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Say what images show, by the newest export of a run."""
    from cnn_tuner.tuning import predict_files

    if model is not None and run is not None:
        raise UsageError("--model and --run: name one of them, not both")
    exported = open_run(folder, run).latest_export() if model is None else model
    with quiet_tensorflow():
        answers = predict_files(exported, images)
    if as_json:
        print(json.dumps(answers))
        return
    width = max(len(str(image)) for image in images)
    for answer in answers:
        say(f"{answer['image']:<{width}}  {_answer_text(answer)}")


def _answer_text(answer: dict[str, Any]) -> str:
    if "values" in answer:
        return ", ".join(f"{name} {value:.6g}" for name, value in answer["values"].items())
    likely = sorted(answer["probabilities"].items(), key=lambda item: -item[1])
    if "labels" in answer:
        return ", ".join(f"{n} {p:.1%}" for n, p in likely if n in answer["labels"]) or "none of the labels"
    (_, _), *others = likely
    rest = ", ".join(f"{name} {probability:.1%}" for name, probability in others[:2])
    return f"{answer['class']} {answer['probability']:.1%}  (then {rest})"
