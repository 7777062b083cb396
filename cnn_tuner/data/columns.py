"""Tables of text in a file, by column: CSV in its dialects, and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cnn_tuner.data.files import listed, one_line, reading, shown
from cnn_tuner.errors import DataError, UsageError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
SUFFIXES = (*TEXT_SUFFIXES[:2], *PARQUET_SUFFIXES)
_DELIMITERS = ",;\t|"
_MEGABYTE = 2**20


@dataclass(frozen=True, eq=False)
class Table:
    """Cells as text, "" where there is nothing, by column.

    first_row: the number that a person sees beside the first row of cells.
    """

    path: Path
    columns: dict[str, Sequence[str]]
    first_row: int = 2
    delimiter: str = ""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def named(self, wanted: str, flag: str) -> str:
        """The column that a person means.

        Raises:
            UsageError: there is none.
        """
        if wanted in self.columns:
            return wanted
        same = [name for name in self.columns if name.lower() == wanted.lower()]
        if len(same) != 1:
            raise UsageError(f"{flag} {shown(wanted)}: {shown(self.path)} has no such column; has {self.names}")
        return same[0]

    @property
    def names(self) -> str:
        return listed(list(self.columns))

    def row(self, index: int) -> str:
        """Where a row is, for a message."""
        return f"{shown(self.path)}: row {index + self.first_row}"


def read(path: Path) -> Table:
    """The table in a file, whose first row names its columns.

    Raises:
        DataError: it cannot be read, or is no table with names.
    """
    return _of_parquet(path) if path.suffix.lower() in PARQUET_SUFFIXES else _of_text(path)


def _of_text(path: Path) -> Table:
    with reading(path), path.open(encoding="utf-8-sig", newline="") as stream:
        try:
            head = stream.readline(_MEGABYTE)
            delimiter = max(_DELIMITERS, key=head.count)
            stream.seek(0)
            rows = csv.reader(stream, delimiter=delimiter)
            names = [name.strip() for name in next(rows, [])]
            _check_names(names, path)
            columns: list[list[str]] = [[] for _ in names]
            for cells in rows:
                if len(cells) == len(names):
                    for column, cell in zip(columns, cells, strict=True):
                        column.append(cell.strip())
                elif cells:  # an empty line is none
                    raise DataError(f"{shown(path)}: line {rows.line_num}: has {len(cells)} cells, not {len(names)}")
        except UnicodeDecodeError as error:
            raise DataError(f"{shown(path)}: is no UTF-8 text; save it as UTF-8") from error
        except csv.Error as error:
            raise DataError(f"{shown(path)}: line {rows.line_num}: {one_line(error)}") from error
    table = Table(path, dict(zip(names, columns, strict=True)), delimiter=delimiter)
    if not len(table):
        raise DataError(f"{shown(path)}: has no rows below its names")
    return table


def _of_parquet(path: Path) -> Table:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise DataError(f"{shown(path)}: needs pyarrow; install it with pip install 'cnn-tuner[parquet]'") from error
    with reading(path):
        path.stat()
    try:
        stored = parquet.read_table(path)
        _check_names(stored.column_names, path)
        columns: dict[str, Sequence[str]] = {
            name: ["" if v is None else str(v) for v in stored[name].to_pylist()] for name in stored.column_names
        }
    except (ArrowException, OSError, ValueError) as error:
        raise DataError(f"{shown(path)}: is no readable Parquet file ({one_line(error)})") from error
    if not stored.num_rows:
        raise DataError(f"{shown(path)}: has no rows")
    return Table(path, columns, first_row=1)


def _check_names(names: Sequence[str], path: Path) -> None:
    if len(names) < 2 or "" in names:
        got = listed(names) or "nothing"
        raise DataError(f"{shown(path)}: the first row must name the columns, two at least; it holds {got}")
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise DataError(f"{shown(path)}: has the column {shown(repeated[0])} twice")
