"""What a job raised, as it crosses from one process to another: the search ends, as it would have in one process."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from cnn_tuner import errors
from cnn_tuner.errors import SearchError


@dataclass(frozen=True)
class Fault:
    """An exception as plain data: its class may be known in the worker only. `own_class` is the one in errors.py."""

    kind: str
    message: str
    traceback: str
    own_class: str | None = None
    errno: int | None = None
    filename: str | None = None


class WorkerTraceback(Exception):
    """The cause of an exception that crossed: where it was raised, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(f"in a worker process\n\n{text}")


def fault_of(error: BaseException) -> Fault:
    """`error` as plain data."""
    kind = type(error).__name__
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if isinstance(error, OSError) and error.errno is not None:
        filename = None if error.filename is None else str(error.filename)
        return Fault(kind, error.strerror or "", text, errno=error.errno, filename=filename)
    own = [base.__name__ for base in type(error).__mro__ if base.__module__ == errors.__name__]
    return Fault(kind, str(error).strip(), text, own_class=own[0] if own else None)


def exception_of(fault: Fault, trial: int) -> Exception:
    """What the search is to raise: an OSError or one of this package as it was, anything else as a SearchError."""
    error: Exception
    if fault.errno is not None:
        error = OSError(fault.errno, fault.message, fault.filename)
    elif fault.own_class is not None:
        error = getattr(errors, fault.own_class)(fault.message)
    else:
        lines = [fault.kind, *fault.message.splitlines()[:1]]
        error = SearchError(f"trial {trial}: {': '.join(lines)}")
    error.__cause__ = WorkerTraceback(fault.traceback)
    return error
