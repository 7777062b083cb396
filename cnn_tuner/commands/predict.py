"""cnn-tuner predict: what images show, by a run's newest export or any other."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from cnn_tuner.api import words
from cnn_tuner.api.words import RUNS
from cnn_tuner.commands import completing
from cnn_tuner.commands.options import MODEL_HELP, JsonOption, RunsOption, open_export
from cnn_tuner.data.files import printable
from cnn_tuner.errors import UsageError

if TYPE_CHECKING:
    from cnn_tuner.data.pictures import BrokenImageError

FORMATS = ("table", "csv", "json")  # answers.FORMATS, whose module would slow --help down
STDIN = "-"


def predict(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE",
            help="Image files (PNG, JPEG, BMP, GIF, WebP, TIFF), folders of them, or - for one on stdin.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="RUN|EXPORT", autocompletion=completing.runs, help=MODEL_HELP)
    ] = None,
    files_from: Annotated[
        str | None, typer.Option(help="A file with a path a line, or - for a list on stdin, besides IMAGEs.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", autocompletion=completing.among(*FORMATS), help="table, csv or json. Default: table."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A file to write to, once all is known. Default: stdout.")] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="From which probability on a label is there, or the second of two classes: a number, or val for what "
            "the validation part says. Default: 0.5."
        ),
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Name images that cannot be read on stderr, and go on.")
    ] = False,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Read what links in a folder lead to, wherever it lies.")
    ] = False,
    folder: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Say what images show, by the newest export of a run, or by any export.

    Folders are searched to their depths, in the order of names. Some hundred images are in memory at once.
    """
    form = _format(form, as_json)
    asked = images or []
    _check(asked, files_from)
    if output is not None and not output.absolute().parent.is_dir():
        raise UsageError(f"--output: {output.absolute().parent}: no such folder")
    exported = open_export(folder, model)
    from cnn_tuner.export.served import Served
    from cnn_tuner.predict import answers, inputs

    served = Served(exported)
    thresholds = words.thresholds(threshold, exported, served.task, len(served.class_names))
    skip = _skipped if skip_broken else None
    with _listed(files_from) as listed:
        stdin = None if files_from == STDIN else sys.stdin.buffer
        found = inputs.sources(chain(asked, listed), stdin, follow_links, _told)
        _write(answers.FORMATS[form](inputs.predict(served, found, skip, thresholds)), form, output)


def _format(form: str | None, as_json: bool) -> str:
    if form is not None and form not in FORMATS:
        raise UsageError(f"--format: unknown: {form!r}; choices: {', '.join(FORMATS)}")
    if as_json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form}: name one of them, not both")
    return "json" if as_json else form or "table"


def _check(words: list[str], files_from: str | None) -> None:
    if not words and files_from is None:
        raise UsageError("predict: which images? name files or folders, - for one on stdin, or a list by --files-from")
    if words.count(STDIN) + (files_from == STDIN) > 1:
        raise UsageError("-: standard input can be read once only: it is one image, or the list of --files-from")


@contextmanager
def _listed(files_from: str | None) -> Iterator[Iterable[str]]:
    """The paths of a list, which is read as it is needed."""
    from cnn_tuner.data.files import expanded, reading
    from cnn_tuner.predict import inputs

    if files_from is None:
        yield ()
    elif files_from == STDIN:
        yield inputs.lines(sys.stdin.buffer)
    else:
        path = expanded(files_from)
        with reading(path):
            stream = path.open("rb")
        with stream:
            yield inputs.lines(stream)


def _told(note: str) -> None:
    print(f"note: {printable(note)}", file=sys.stderr)


def _skipped(error: BrokenImageError) -> None:
    print(f"skipped: {printable(str(error))}", file=sys.stderr)


def _write(pieces: Iterator[str], form: str, output: Path | None) -> None:
    """Writes to the file, which appears when it is complete, or to stdout; JSON there in one go, or not at all."""
    if output is not None:
        aside = output.with_name(f".{output.name}.{os.getpid()}.tmp")
        try:
            with aside.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(output)
        finally:
            aside.unlink(missing_ok=True)
    elif form == "json":
        kept: IO[str]
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as kept:
            kept.writelines(pieces)
            kept.seek(0)
            shutil.copyfileobj(kept, sys.stdout)
    else:
        for piece in pieces:
            sys.stdout.write(piece)
