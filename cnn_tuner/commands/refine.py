"""cnn-tuner refine: from what was searched to where to search next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnn_tuner.api.words import RUNS
from cnn_tuner.commands.options import RunArgument, RunsOption, open_run
from cnn_tuner.commands.output import say
from cnn_tuner.errors import UsageError


def refine(
    run: RunArgument = None,
    output: Annotated[Path | None, typer.Option("--output", help="A YAML file. Default: standard output.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    folder: RunsOption = RUNS,
) -> None:
    """Propose a narrower search space: the run's, without what its best trials speak against.

    Each line says which trials speak for it. The run's best trial is a point of it.
    """
    from cnn_tuner.analysis import refining
    from cnn_tuner.runs import folders

    if output is not None:
        _check_output(output, force)
    opened = open_run(folder, run)
    text = refining.refine(opened, str(output or f"{opened.folder.name}-refined.yaml"))
    if output is None:
        print(text, end="")
        return
    folders.write_aside(output, text)
    say(f"{output}: a narrower space; search it with cnn-tuner tune --space {output}")


def _check_output(output: Path, force: bool) -> None:
    if output.is_dir() or not output.parent.is_dir():
        raise UsageError(f"--output: must be a file in a folder that exists, got {output}")
    if output.exists() and not force:
        raise UsageError(f"--output: {output} is there already; choose another name, or --force to replace it")
