"""load: a run or an export by its folder."""

from __future__ import annotations

from pathlib import Path

from cnn_tuner.api.exported import Export
from cnn_tuner.api.run import Run
from cnn_tuner.api.words import told_in_keywords
from cnn_tuner.errors import UsageError


@told_in_keywords()
def load(path: str | Path) -> Run | Export:
    """Open a run or an export, by its folder.

    Args:
        path: the folder of a run, such as `runs/digits-quick-1`; or of an export, or of its versions, of which the
            newest is taken, such as `runs/digits-quick-1/export/digits`.

    Returns:
        A `Run` or an `Export`.

    Raises:
        UsageError: the folder is neither.
        StorageError: the run's store cannot be read.

    Example:
        >>> run = cnn_tuner.load(run.path)
        >>> export = cnn_tuner.load(run.path / "export" / "memory")
    """
    from cnn_tuner.runs import folders

    folder = Path(path).expanduser()
    if (folder / "config.yaml").is_file():
        return Run(folder)
    if (folder / "saved_model.pb").is_file():
        return Export(folder)
    if found := folders.versions(folder):
        return Export(found[-1])
    raise UsageError(f"{folder}: neither a run nor an export; name the folder of one, such as runs/digits-quick-1")
