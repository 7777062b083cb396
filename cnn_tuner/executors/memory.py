"""How much memory this process holds, and a limit for it. Exact on Linux; elsewhere only the peak is known."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

_SELF = Path("/proc/self")


def resident_bytes() -> int:
    """What this process holds for itself: memory-mapped files do not count. Where that is not told: its peak."""
    return _status("RssAnon") or _highest()


def peak_bytes() -> int:
    """The most that this process held since `reset_peak`. Where that cannot be reset: since it started."""
    return _status("VmHWM") or _highest()


def reset_peak() -> None:
    """Has `peak_bytes` begin anew, where the system can do that."""
    with suppress(OSError):
        (_SELF / "clear_refs").write_text("5")  # Linux, Documentation/filesystems/proc.rst


def limit(more_bytes: int) -> None:
    """Has allocations fail once this process took `more_bytes` on top of what it has. Linux only: no limit elsewhere.

    What is reserved counts, not what is used: each new thread costs the size of its stack, 8 MiB as a rule. With
    TensorFlow 2.21 and two threads even a small model needed more than 192 MiB.
    """
    if sys.platform == "linux" and (held := _status("VmData")):
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        asked = held + more_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (asked if most == resource.RLIM_INFINITY else min(asked, most), most))


def _status(name: str) -> int:
    """A field of /proc/self/status in bytes, 0 where there is none."""
    with suppress(OSError):
        for line in (_SELF / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0


def _highest() -> int:
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024
