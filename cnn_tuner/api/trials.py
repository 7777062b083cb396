"""The trials of a run as a list, and as a table of pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cnn_tuner.errors import UsageError
from cnn_tuner.runs.records import Trial

if TYPE_CHECKING:
    import pandas

FIELDS = ("status", "score", "params", "macs", "seconds")  # of a trial, as columns
COLUMNS = ("trial", "status", "score", "epochs", "params", "macs", "seconds")


class Trials(list[Trial]):
    """The trials of a run by number: a list of `Trial`.

    Example:
        >>> print([(trial.number, trial.score) for trial in run.trials])
    """

    def to_pandas(self) -> pandas.DataFrame:
        """A table with a row a trial, and a column a hyperparameter besides what it reached.

        Returns:
            `trial`, `status`, `score`, `epochs`, `params`, `macs` (multiply-adds for one image), `seconds`, then the
            hyperparameters by name, missing where a trial has no such block or layer.

        Raises:
            UsageError: pandas is not installed.

        Example:
            >>> table = run.trials.to_pandas()
        """
        try:
            import pandas
        except ImportError as error:
            raise UsageError("to_pandas: needs pandas; install it with pip install pandas") from error
        rows: list[dict[str, Any]] = [
            {"trial": each.number, "epochs": len(each.epochs)}
            | {name: getattr(each, name) for name in FIELDS}
            | each.values
            for each in self
        ]
        names = dict.fromkeys((*COLUMNS, *(name for row in rows for name in row)))
        return pandas.DataFrame(rows, columns=list(names))
