"""SHA256SUMS: what every file of an export is, in the form that `sha256sum -c` reads."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from cnn_tuner.errors import VerificationError
from cnn_tuner.export.checks import container
from cnn_tuner.runs.folders import write_aside

FILE = "SHA256SUMS"
MAX_BYTES = 2**20  # of the list: some thousand files
LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write(folder: Path) -> None:
    """Lists every file in `folder` but the list itself."""
    lines = [f"{_sum(folder / name)}  {name}\n" for name in files(folder)]
    write_aside(folder / FILE, "".join(lines))


def files(folder: Path) -> list[str]:
    """Every file in `folder` but the list and what is passed over, as paths within it, in order."""
    return [name for name in container.names(folder) if name != FILE]


def check(folder: Path) -> int:
    """The number of files that are what the list says.

    Raises:
        VerificationError: a file differs, is missing, or is not in the list.
    """
    listed, there = _read(folder), files(folder)
    for name in there:
        if name not in listed:
            raise VerificationError(f"{folder / name}: is not listed in {FILE}: it is no part of the export")
    for name, expected in listed.items():
        if name not in there:
            raise VerificationError(f"{folder / name}: is listed in {FILE}, but is not there")
        found = _sum(folder / name)
        if found != expected:
            told = f"its sha256 is {found[:12]}..., listed in {FILE} is {expected[:12]}..."
            raise VerificationError(f"{folder / name}: has changed: {told}")
    return len(listed)


def _read(folder: Path) -> dict[str, str]:
    """Names and sums of the list."""
    file = folder / FILE
    if not file.is_file():
        raise VerificationError(f"{file}: is missing, so nothing says what the files have to be")
    if file.stat().st_size > MAX_BYTES:
        raise VerificationError(f"{file}: must be at most {MAX_BYTES:,} bytes, is {file.stat().st_size:,}")
    found: dict[str, str] = {}
    content = file.read_bytes()
    if not content.endswith(b"\n"):
        raise VerificationError(f"{file}: must end with a line break")
    for number, line in enumerate(content.decode("utf-8", "replace").removesuffix("\n").split("\n"), 1):
        match = LINE.fullmatch(line)
        if match is None or match[2] in found:
            raise VerificationError(
                f"{file}: line {number}: must be a sha256 and a file of its own, got {line[:100]!r}"
            )
        found[match[2]] = match[1]
    return found


def _sum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
