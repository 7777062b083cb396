"""The pages that people read, README.md and docs/, and what stands in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").glob("**/*.md") if "_build" not in path.parts)]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """Every fenced block in a language, with its page."""
    return [(page, code) for page, text in PAGES.items() for kind, code in FENCE.findall(text) if kind == language]


def shown_commands() -> list[tuple[str, list[str]]]:
    """Every command of ours or of make in code, in words, with its page."""
    found = []
    for page, text in PAGES.items():
        prose = FENCE.sub("", text)
        lines = [line for _, code in FENCE.findall(text) for line in code.splitlines()]
        lines += re.findall(r"^ {4}(.*)$", prose, re.MULTILINE)
        lines += [" ".join(code.split()) for code in re.findall(r"`([^`\n]+\n?[^`\n]*)`", prose)]
        for line in lines:
            for command in re.findall(r"(?:^|\| |\$ )(?:\.venv/bin/)?((?:cnn-tuner|make) [a-z].*)$", line):
                found.append((page, shlex.split(command, comments=True)))
    return found


def links() -> list[tuple[str, str]]:
    """Every link or picture that leads to a file, with its page."""
    inside = r"\]\((?!https?:)([^)\s]+)\)"
    return [(page, link) for page, text in PAGES.items() for link in re.findall(inside, FENCE.sub("", text))]


def anchors(text: str) -> set[str]:
    """The names that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
