"""Where people read: a terminal, or what their words are led to, such as a file."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

FILE_WIDTH = 160  # characters of a line where there is no terminal
INDENT = " " * 4  # of what goes on with a line that was too long
COMMANDS = ("next  ", "echo ")  # how lines of commands begin


def console(is_stderr: bool = False) -> Console:
    """Stdout, or stderr when stdout is for a machine."""
    from rich.console import Console

    found = Console(stderr=is_stderr, highlight=False)
    if not is_terminal(found):
        found.width = FILE_WIDTH  # rich takes 80, which folds tables that a file has room for
    return found


def is_terminal(console: Console) -> bool:
    """Whether it writes to a terminal, whatever FORCE_COLOR says; what has the place of stdout may know of no such."""
    try:
        return bool(getattr(console.file, "isatty", bool)())
    except ValueError:  # it is closed
        return False


def can_redraw(console: Console) -> bool:
    """Whether what was drawn can be drawn over: not in a file, whose colours FORCE_COLOR may ask for, nor if TERM=dumb.

    That is also what people say who have their terminal read to them.
    """
    return console.is_terminal and is_terminal(console) and not console.is_dumb_terminal


def wrapped(console: Console, text: str, more: str = "") -> str:
    """A line that a terminal has room for, else several, broken between words; in a file one line.

    Text behind a title and two spaces goes on below itself. `more` has a line of its own where there is no room for it
    behind the text. Lines of commands are left to the terminal, which gives them to be copied as they were.
    """
    whole = f"{text}  {more}" if more else text
    if len(whole) <= console.width or not is_terminal(console) or text.startswith(COMMANDS):
        return whole
    return "\n".join(_folded(line, console.width) for line in ([text, f"{INDENT}{more}"] if more else [text]))


def _folded(line: str, width: int) -> str:
    title = re.match(r" *\w+ {2,}", line)
    indent = " " * len(title[0]) if title and len(title[0]) <= width // 3 else INDENT
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
