"""The command line: options read, errors told as one line and an exit code."""

from __future__ import annotations

import functools
import io
import os
import re
import sys
import traceback
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cnn_tuner import __version__
from cnn_tuner.api.loading import quiet_tensorflow
from cnn_tuner.commands import (
    cache,
    data,
    doctor,
    explain,
    helping,
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
from cnn_tuner.data.files import expanded, one_line, printable
from cnn_tuner.errors import CnnTunerError, UsageError, storage_error
from cnn_tuner.metrics import strict_json

SPARED = ("matplotlib", "pandas")  # which no command needs of Keras, and which take a second and more to load
LOGS = Path("~/.cache/cnn_tuner")  # of what was not foreseen

app = typer.Typer(
    name="cnn-tuner",
    cls=helping.Commands,
    help="Search CNN architectures for your images, watch the runs in TensorBoard, export the best as a SavedModel.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = {
    "Search": (tune.tune, plan.plan, tune.resume, tune.extend, refine.refine, spaces.spaces),
    "Look": (
        runs.runs,
        runs.show,
        report.report,
        explain.explain,
        runs.steps,
        tensorboard.tensorboard,
        tensorboard.logs,
        runs.export_trials,
    ),
    "Use": (predict.predict, models.evaluate, serve.serve, models.export, models.verify),
    "Images and machine": (data.data, cache.cache, doctor.doctor),
}
for title, those in COMMANDS.items():
    for command in those:
        app.command(cls=helping.Command, rich_help_panel=title)(command)


@functools.cache
def _command() -> typer.core.TyperGroup:
    """All commands, made once: that takes a third of a short command's time."""
    found = typer.main.get_command(app)
    assert isinstance(found, typer.core.TyperGroup)
    return found


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
        print(strict_json.dumps({"error": str(error), "exit_code": exit_code}))
    return exit_code


def _explain(error: typer.TyperException, arguments: list[str]) -> str:
    """What the parser of the command line found wrong, with the value that it leaves out."""
    text = " ".join(error.format_message().split())
    flags = getattr(getattr(error, "param", None), "opts", [])
    given = [after for flag, after in pairwise(arguments) if flag in flags]
    return f"{text}, got {given[-1]!r}" if given and text.startswith("Invalid") else text


def _as_a_shell_would(argument: str) -> str:
    """`--runs=~/x` with the home folder, which shells put there behind a space only."""
    found = re.fullmatch(r"(--[a-z-]+)=(~(?:/.*)?)", argument, re.DOTALL)
    return argument if found is None else f"{found[1]}={expanded(found[2])}"


def _never_fail_to_print() -> None:
    """What a terminal's or a file's encoding lacks becomes a question mark there."""
    for stream in (sys.stdout, sys.stderr):
        is_utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
        if isinstance(stream, io.TextIOWrapper) and not (is_utf8 and stream.errors == "surrogateescape"):
            stream.reconfigure(errors="replace" if stream is sys.stdout else "backslashreplace")


def _unforeseen(error: Exception, as_json: bool) -> int:
    """What no rule foresees: its traceback is kept in a file, one line says where."""
    told = f"{type(error).__name__}: {one_line(error)}"
    log = LOGS / f"error-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{os.getpid()}.log"
    try:
        log = log.expanduser()
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
        where = f"the traceback is in {log}, and with --debug here"
    except (OSError, RuntimeError):  # no home folder, or a full disk
        where = "--debug shows the traceback"
    return _fail(CnnTunerError(f"not foreseen: {told}; {where}"), CnnTunerError.exit_code, as_json)


def main() -> NoReturn:
    """Runs a command; every error becomes one line and an exit code."""
    arguments = [_as_a_shell_would(argument) for argument in sys.argv[1:]] or ["--help"]
    _never_fail_to_print()
    is_debug, as_json = "--debug" in arguments, "--json" in arguments
    try:
        given = [argument for argument in arguments if argument != "--debug"]
        # Whenever a command, or TensorBoard for its first page, loads it.
        has_own_networks = any(argument.startswith("--hypermodel") for argument in arguments)
        with quiet_tensorflow(is_debug, () if has_own_networks else SPARED):
            code = _command().main(given, standalone_mode=False, prog_name=app.info.name)
    except typer.TyperException as error:
        code = _fail(UsageError(_explain(error, arguments)), UsageError.exit_code, as_json)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except CnnTunerError as error:
        if is_debug:
            raise
        code = _fail(error, error.exit_code, as_json)
    except BrokenPipeError:  # whoever read, as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        if is_debug:
            raise
        known = storage_error(error, error.filename or "runs")
        code = _unforeseen(error, as_json) if known is None else _fail(known, known.exit_code, as_json)
    except Exception as error:
        if is_debug:
            raise
        code = _unforeseen(error, as_json)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
