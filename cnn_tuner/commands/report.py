"""cnn-tuner report: a run as one page for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnn_tuner.api.words import RUNS
from cnn_tuner.commands.options import JsonOption, RunArgument, RunsOption, open_run
from cnn_tuner.commands.output import say
from cnn_tuner.metrics import strict_json


def report(
    run: RunArgument = None,
    output: Annotated[Path | None, typer.Option("--output", help="A file. Default: report.html of the run.")] = None,
    folder: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Write a run's report: one page for a browser, without a network, of whatever the run has reached.

    The winner and its steps, scores, curves, what mattered, mistakes, data, how to serve and to repeat it.
    """
    from cnn_tuner.report import page as reports

    file = reports.write(open_run(folder, run), output)
    if as_json:
        print(strict_json.dumps({"report": str(file)}))
    else:
        say(f"report    {file}")
