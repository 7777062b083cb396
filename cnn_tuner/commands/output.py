"""Where commands print, and the exit code that is no error's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnn_tuner.data.files import printable

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130  # what a shell expects of a program that was ended by Ctrl-C
FILE_WIDTH = 160  # characters of a line where there is no terminal


def console(as_json: bool = False) -> Console:
    """Where people read: stdout, or stderr when stdout is for a machine."""
    from rich.console import Console

    found = Console(stderr=as_json, highlight=False)
    if not found.is_terminal:
        found.width = FILE_WIDTH  # rich takes 80, which folds tables that a file has room for
    return found


def say(text: str) -> None:
    """One line. Names from somebody else's files are in many, so that what is no text is escaped."""
    console().print(printable(text), markup=False, soft_wrap=True)
