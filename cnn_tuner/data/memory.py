"""Whether images fit into memory, asked before any is taken."""

from __future__ import annotations

import os

from cnn_tuner.data import cgroup
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError

_ASSUMED_BYTES = 8 * 2**30  # of a machine that does not tell, as Windows


def check_memory(need_bytes: int, options: DataOptions, place: str) -> None:
    """Return if `need_bytes` are within the limit.

    Raises:
        DataError: they are not.
    """
    limit = options.max_bytes if options.max_bytes is not None else machine_bytes() // 2
    if need_bytes > limit:
        raise DataError(
            f"{place}: needs {_gib(need_bytes)} of memory for its images, the limit is {_gib(limit)}; "
            "use fewer or smaller images"
        )


def machine_bytes() -> int:
    """The physical memory of this machine, or what this process's container may have of it."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        physical = _ASSUMED_BYTES
    limit = cgroup.memory_bytes()
    return physical if limit is None else min(physical, limit)


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"
