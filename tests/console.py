"""Blocks of ```console: the commands in them, and whether an output is what such a block claims."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

NUMBER = re.compile(r"\d+(?:[.,:]\d+)*(?:e[-+]?\d+)?")
CURVE = re.compile("[▁-█]+")
MARK = "--- that was a command, which ended with"


def steps(block: str) -> list[tuple[str, str]]:
    """The commands of a block, the lines that begin with `$ `, each with the output that is claimed below it."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def masked(text: str) -> list[str]:
    """Its lines with one sign for each number and each drawn curve, whatever the white space."""
    lines = (" ".join(CURVE.sub("~", NUMBER.sub("0", line)).split()) for line in text.splitlines())
    return [line for line in lines if line]


def first_difference(claimed: str, output: str) -> str | None:
    """What is wrong with an output, None if it is as claimed.

    `...` stands for anything within a line, and on a line of its own for any lines.
    """
    left = masked(output)
    anywhere = False
    for line in masked(claimed):
        if line == "...":
            anywhere = True
            continue
        wanted = re.compile(re.escape(line).replace(r"\.\.\.", ".*").replace(r"\ .*", "(?: .*)?"))
        places = range(len(left)) if anywhere else range(min(1, len(left)))
        found = next((place for place in places if wanted.fullmatch(left[place])), None)
        if found is None:
            return f"claimed: {line!r}; there: {left[: None if anywhere else 1]}"
        left, anywhere = left[found + 1 :], False
    return f"not claimed: {left[0]!r}" if left and not anywhere else None


def run(commands: list[str], folder: Path, environment: dict[str, str]) -> list[tuple[int, str]]:
    """Runs commands in one shell, as somebody would type them: exit code and output of each."""
    script = "".join(f"{command}\nprintf '%s %s\\n' '{MARK}' $?\n" for command in commands)
    done = subprocess.run(
        ["bash"], input=script, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    found = re.findall(rf"(.*?)^{re.escape(MARK)} (\d+)\n", done.stdout, re.MULTILINE | re.DOTALL)
    return [(int(code), output) for output, code in found]
