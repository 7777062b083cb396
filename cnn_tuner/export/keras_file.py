"""The `.keras` file of a run, as a part of an export."""

from __future__ import annotations

import shutil
from pathlib import Path

from cnn_tuner.export.formats import Source


def write(source: Source, path: Path) -> None:
    """Copies the run's best.keras, which is verified itself: a file written again would hold another date."""
    shutil.copyfile(source.kept, path)
