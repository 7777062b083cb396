"""Writes into a page what the code itself says: a line `<!-- made from the code: NAME -->` becomes Markdown.

A link to a Markdown file outside these pages, which leads there in the repository, becomes one to a copy of the file.
"""

from __future__ import annotations

import re
from typing import Any

import commands
import space_keys

MADE = {"commands": commands.reference, "space keys": space_keys.reference}


def fill(text: str) -> str:
    """The text of a page with what the code says."""
    return re.sub(r"^<!-- made from the code: (.+) -->$", lambda found: MADE[found[1]](), text, flags=re.MULTILINE)


def _on_reading(app: Any, page: str, source: list[str]) -> None:
    source[0] = re.sub(r"\[([^]]+)\]\((\.\./\S+\.md)\)", r"{download}`\1 <\2>`", fill(source[0]))


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", _on_reading)
    return {"parallel_read_safe": True}
