"""Looks at somebody else's export or `.keras` file before anything loads it: what may run code is refused unread.

Each is to be called before TensorFlow or Keras sees the file, the container's before the graph's. They read what lies
there at that moment: they are no protection from somebody who can still write to the folder.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from cnn_tuner.export.checks import container
from cnn_tuner.export.checks.graph import check_graph
from cnn_tuner.export.checks.keras_file import check_keras
from cnn_tuner.export.formats.registry import FORMATS

__all__ = ["check_container", "check_formats", "check_graph", "check_keras"]


def check_container(folder: Path) -> None:
    """Looks at the files of an export: names, kinds, sizes, and what its `.keras` files hold.

    Raises:
        VerificationError: a link out of it, a file that does not belong there or is too large, a `.keras` file to
            refuse.
    """
    container.check_container(folder)
    for name in container.names(folder):
        if name.endswith(".keras"):
            check_keras(folder / name)


def check_formats(folder: Path) -> None:
    """Looks at the files of an export whose format has a check; where its reader is missing, nothing loads them.

    Raises:
        VerificationError: one is to be refused.
    """
    checks = {Path(each.path).suffix: each.check for each in FORMATS.values() if each.check and not each.missing}
    for suffix, module in checks.items():
        check = importlib.import_module(f"cnn_tuner.export.checks.{module}").check
        for name in container.names(folder):
            if name.endswith(suffix):
                check(folder / name)
