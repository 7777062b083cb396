"""cnn-tuner explain: one image through the seven steps, as a page and as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnn_tuner.api.words import RUNS
from cnn_tuner.commands import completing
from cnn_tuner.commands.options import JsonOption, RunsOption, open_run
from cnn_tuner.commands.output import say
from cnn_tuner.data.listing import SUFFIXES
from cnn_tuner.errors import UsageError
from cnn_tuner.metrics import strict_json

if TYPE_CHECKING:
    from cnn_tuner.explain.lessons import Lesson


def explain(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", autocompletion=completing.runs, help="A run's name or folder. Default: the newest run."
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Argument(
            metavar="IMAGE", help="An image file. Default: one of the run's test part; with --space a digit."
        ),
    ] = None,
    mistake: Annotated[
        int | None,
        typer.Option(help="Explain a mistake on the test part: 1 is the surest, in the order of the report."),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            autocompletion=completing.spaces, help="Explain an untrained network of this space instead, as a lesson."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="File of the page. Default: RUN/explain/IMAGE/explain.html, with the pictures beside it."),
    ] = None,
    png: Annotated[Path | None, typer.Option("--png", help="Folder of the pictures, as PNG files.")] = None,
    folder: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Lead one image through the seven steps of a run's best model, number by number, on a page that works offline.

    A single argument that is a file is the IMAGE. With --space, no run is needed.
    """
    from cnn_tuner.spaces import tree

    name, file = _arguments(folder, run, image, space)
    if mistake is not None and (space is not None or file is not None):
        raise UsageError("--mistake: is one of a run's test part, so it takes no IMAGE and no --space")
    subject = open_run(folder, name) if space is None else tree.load(space)
    from cnn_tuner.explain import lessons

    lesson = (
        lessons.of_space(subject, file)
        if isinstance(subject, tree.SearchSpace)
        else lessons.of_run(subject, file, mistake)
    )
    home = lessons.home(folder, subject) / lesson.stem
    page, pictures = output or home / "explain.html", png or (home if output is None else None)
    if pictures == home:
        lessons.clear_pictures(home)
    _write(lesson, page, pictures, as_json)


def _arguments(folder: Path, run: str | None, image: Path | None, space: str | None) -> tuple[str | None, Path | None]:
    """The run and the image that are meant."""
    if space is not None:
        if image is not None:
            raise UsageError("--space: explains an untrained network, so it takes an IMAGE and no RUN")
        if run is not None and not _is_image(folder, run):
            raise UsageError(f"--space: explains an untrained network, so it takes no RUN, got {run!r}")
        return None, None if run is None else Path(run)
    if run is not None and image is None and _is_image(folder, run):
        return None, Path(run)
    return run, image


def _is_image(folder: Path, text: str) -> bool:
    """Whether a single argument means an image: it is a file, or is called as one and no run is."""
    path = Path(text)
    is_run = any((place / "config.yaml").is_file() for place in (path, folder / text))
    return not is_run and (path.is_file() or path.suffix.lower() in SUFFIXES)


def _write(lesson: Lesson, page: Path, png: Path | None, as_json: bool) -> None:
    from cnn_tuner.explain import lessons

    lessons.write_page(lesson, page)
    pictures = [] if png is None else lessons.write_pictures(lesson, png)
    answer = lesson.explanation.answer
    if as_json:
        found = {
            "image": lesson.subject.image,
            "network": lesson.subject.network,
            "is_trained": lesson.subject.is_trained,
            "answer": answer.text,
            "values": dict(zip(answer.names, answer.values, strict=True)),
            "page": str(page),
            "pictures": [str(path) for path in pictures],
        }
        print(strict_json.dumps(found))
        return
    say(f"{lesson.subject.image}: {answer.text}, by {lesson.subject.network}")
    say(f"page      {page}" + (f", with {len(pictures)} pictures in {png}" if pictures else ""))
