"""What a container or a service may take of its machine, by Linux's control groups, version 2.

The limits of a group hold for all below it: https://docs.kernel.org/admin-guide/cgroup-v2.html. Inside a container the
own group is the root that is seen there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT, OF_THIS_PROCESS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores() -> float | None:
    """Processors' worth of time, or None for no limit."""
    shares = []
    for text in _limits("cpu.max"):
        quota, _, period = text.partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            shares.append(int(quota) / int(period))
    return min(shares, default=None)


def memory_bytes() -> int | None:
    """Bytes of memory, or None for no limit."""
    found = [text for name in ("memory.max", "memory.high") for text in _limits(name)]
    return min((int(text) for text in found if text.isdecimal()), default=None)


def _limits(name: str) -> Iterator[str]:
    """What the file `name` says in the own group and in each around it."""
    group = ROOT
    with suppress(OSError):
        lines = OF_THIS_PROCESS.read_text().splitlines()
        own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
        group = ROOT / own.strip("/")
    for folder in (group, *group.parents):
        with suppress(OSError):
            yield (folder / name).read_text().strip()
        if folder == ROOT:
            break
