"""cnn-tuner tune"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cnn_tuner.commands.options import RUNS, JsonOption, RunsOption, sizes
from cnn_tuner.commands.output import console
from cnn_tuner.commands.quiet import quiet_tensorflow

if TYPE_CHECKING:
    from cnn_tuner.tuning import Request, Tuning

INTERRUPTED = 130  # what a shell expects of a program that was ended by Ctrl-C
TOP = 5  # trials in the table that ends a search


def tune(
    data: Annotated[
        str,
        typer.Option(
            help="digits, fashion_mnist, mnist, cifar10, cifar100, idx:DIR, npz:FILE, or a folder DIR/<class>/*.png."
        ),
    ] = "digits",
    space: Annotated[str, typer.Option(help="A shipped search space by name, or a YAML file.")] = "quick",
    task: Annotated[
        str | None, typer.Option(help="binary, multiclass, multilabel or regression. Default: seen from the labels.")
    ] = None,
    oracle: Annotated[
        str | None, typer.Option(help="random, grid, bayesian or hyperband. Default: the space's.")
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="What to improve, e.g. val_accuracy or val_loss. Default: the task's.")
    ] = None,
    max_trials: Annotated[int | None, typer.Option(help="Points to try. Default: the space's.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs for one trial at most. Default: the space's.")] = None,
    final_epochs: Annotated[
        int | None, typer.Option(help="Epochs for the winner at most, the search's included. Default: 3 x --epochs.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same trials and scores.")] = 0,
    val_fraction: Annotated[float, typer.Option(help="Share for validation, where the data has no such part.")] = 0.15,
    test_fraction: Annotated[float, typer.Option(help="Share for the test, where the data has no such part.")] = 0.2,
    image_size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH for an image folder. Default: from the images, at most 128x128.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(help="1 (grey) or 3 (colour) for an image folder. Default: from the images.")
    ] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Skip images that cannot be read.")] = False,
    name: Annotated[str | None, typer.Option(help="The run's name. Default: data-space-number.")] = None,
    runs: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Search architectures, train the best to the end, evaluate it once on the test part, export and verify it.

    Ctrl-C ends the search with the best so far exported; a second Ctrl-C ends at once.
    """
    from cnn_tuner.data.options import DataOptions
    from cnn_tuner.tuning import Request

    size = None if image_size is None else sizes("--image-size", image_size, 2)
    options = DataOptions(
        task=task,
        seed=seed,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        image_size=size,
        channels=channels,
        skip_broken=skip_broken,
    )
    command = shlex.join(["cnn-tuner", *sys.argv[1:]])
    request = Request(
        data, space, options, oracle, objective, max_trials, epochs, final_epochs, seed, runs, name, command
    )
    _run_tuning(request, as_json)


def _run_tuning(request: Request, as_json: bool) -> None:
    from cnn_tuner import terminal
    from cnn_tuner.tuning import Tuning

    screen = console(as_json)
    reporter = terminal.reporter(screen)
    tuning = Tuning(request, reporter)
    try:
        with _stopping_on_signal(tuning, reporter.line), quiet_tensorflow():
            outcome = tuning.run()
    except KeyboardInterrupt:
        reporter.close()
        if reporter.run is not None:
            reporter.line(f"ended at once; cnn-tuner export {reporter.run.folder.name} exports the best so far")
        raise
    finally:
        reporter.close()
    screen.print()
    screen.print(terminal.trials_table(outcome.trials, outcome.objective, limit=TOP))
    screen.print()
    for line in terminal.outcome_lines(outcome, _program()):
        reporter.line(line)
    if as_json:
        print(json.dumps(outcome.to_dict()))
    if outcome.is_interrupted:
        raise typer.Exit(INTERRUPTED)


def _program() -> str:
    """The command as it can be typed here: `make tune` runs it from a folder that is not on the PATH."""
    here = os.path.relpath(sys.argv[0])
    return "cnn-tuner" if shutil.which("cnn-tuner") or here.startswith("..") else here


@contextmanager
def _stopping_on_signal(tuning: Tuning, say: Callable[[str], None]) -> Iterator[None]:
    """While inside, the first Ctrl-C (or SIGTERM) asks the run to end with its best exported; the second ends it."""

    def stop(number: int, frame: object) -> None:
        if tuning.is_stopping or not tuning.has_begun:
            raise KeyboardInterrupt
        tuning.request_stop()
        say("stopping: the best so far will be exported; Ctrl-C again ends at once")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
