"""How commands print, and the exit code that is no error's."""

from __future__ import annotations

from cnn_tuner.data.files import printable
from cnn_tuner.terminal.screen import console, wrapped

INTERRUPTED = 130  # what a shell expects of a program that was ended by Ctrl-C


def say(text: str) -> None:
    """One line. Names from somebody else's files are in many, so that what is no text is escaped."""
    screen = console()
    screen.print(wrapped(screen, printable(text)), markup=False, soft_wrap=True)
