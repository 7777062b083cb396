"""The command line: options read, errors told as one line and an exit code."""

from __future__ import annotations

import json
import os
import sys
from itertools import pairwise
from typing import Annotated, NoReturn

import typer

from cnn_tuner import __version__
from cnn_tuner.commands import (
    doctor,
    explain,
    models,
    plan,
    predict,
    refine,
    report,
    runs,
    serve,
    spaces,
    tensorboard,
    tune,
)
from cnn_tuner.commands.output import INTERRUPTED
from cnn_tuner.data.files import printable
from cnn_tuner.errors import CnnTunerError, UsageError, storage_error

app = typer.Typer(
    name="cnn-tuner",
    help="Search CNN architectures for your images, watch the runs in TensorBoard, export the best as a SavedModel.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    tune.tune,
    plan.plan,
    tune.resume,
    tune.extend,
    runs.runs,
    runs.show,
    runs.export_trials,
    refine.refine,
    report.report,
    models.export,
    models.verify,
    models.evaluate,
    predict.predict,
    serve.serve,
    spaces.spaces,
    runs.steps,
    explain.explain,
    tensorboard.tensorboard,
    tensorboard.logs,
    doctor.doctor,
):
    app.command()(command)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"cnn-tuner {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and TensorFlow's own messages.")] = False,
) -> None:
    """What every command has; `main` itself looks for --debug, wherever it stands."""


def _fail(error: Exception, exit_code: int, as_json: bool) -> int:
    """One line on stderr, and an object on stdout for machines."""
    print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": str(error), "exit_code": exit_code}))
    return exit_code


def _explain(error: typer.TyperException, arguments: list[str]) -> str:
    """What the parser of the command line found wrong, with the value that it leaves out."""
    text = " ".join(error.format_message().split())
    flags = getattr(getattr(error, "param", None), "opts", [])
    given = [after for flag, after in pairwise(arguments) if flag in flags]
    return f"{text}, got {given[-1]!r}" if given and text.startswith("Invalid") else text


def main() -> NoReturn:
    """Runs a command; every error a user can cause becomes one line and an exit code."""
    arguments = sys.argv[1:] or ["--help"]
    is_debug, as_json = "--debug" in arguments, "--json" in arguments
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if not is_debug:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        code = app([argument for argument in arguments if argument != "--debug"], standalone_mode=False)
    except typer.TyperException as error:
        code = _fail(UsageError(_explain(error, arguments)), UsageError.exit_code, as_json)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except CnnTunerError as error:
        if is_debug:
            raise
        code = _fail(error, error.exit_code, as_json)
    except OSError as error:
        known = storage_error(error, error.filename or "runs")
        if is_debug or known is None:
            raise
        code = _fail(known, known.exit_code, as_json)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
