"""Where people read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

FILE_WIDTH = 160  # characters of a line where there is no terminal


def console(is_stderr: bool = False) -> Console:
    """Stdout, or stderr when stdout is for a machine."""
    from rich.console import Console

    found = Console(stderr=is_stderr, highlight=False)
    if not found.is_terminal:
        found.width = FILE_WIDTH  # rich takes 80, which folds tables that a file has room for
    return found
