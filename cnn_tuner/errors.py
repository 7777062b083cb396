"""The exceptions of cnn_tuner. The class of an exception decides what happens next.

    CnnTunerError
    |-- UsageError          your input is wrong: nothing was started        exit code 2
    |   |-- SpaceError          a search space file breaks a rule
    |-- DataError           images or labels are wrong                      exit code 3
    |-- VerificationError   an export is not what was measured, or not safe exit code 4
    |   |-- FormatError         one format of it: others may be had
    |-- StorageError        the disk is full, or cannot be written or read  exit code 5
    |-- InfeasibleError     this architecture cannot be built: not a trial
    |-- SearchError         the search cannot go on                         exit code 1

A message is one line: where, rule, what came, what is allowed.
"""

from __future__ import annotations

import errno
import os


class CnnTunerError(Exception):
    """An error that one line explains; the command line prints it without a traceback.

    Example:
        >>> try:
        ...     cnn_tuner.tune(data, task="classes")
        ... except cnn_tuner.CnnTunerError as error:
        ...     print(error)
    """

    exit_code = 1


class UsageError(CnnTunerError):
    """A flag, a name or a file the user gave breaks a rule."""

    exit_code = 2


class SpaceError(UsageError):
    """A search space file breaks a rule."""


class DataError(CnnTunerError):
    """Images or labels break a rule."""

    exit_code = 3


class VerificationError(CnnTunerError):
    """An export does not predict what was measured, has changed, or holds what is not to be loaded."""

    exit_code = 4


class FormatError(VerificationError):
    """One format of an export, `format`, cannot be had, or does not predict what was measured."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.format = name


class StorageError(CnnTunerError):
    """The disk is full, a folder cannot be written, or a run's store cannot be read."""

    exit_code = 5


class InfeasibleError(CnnTunerError):
    """A point of the search space that cannot be built or breaks a limit. Never a trial."""


class SearchError(CnnTunerError):
    """The search as a whole cannot go on."""


_STORAGE_HINTS = {
    errno.ENOSPC: "no space left on the disk; free some, or choose another folder with --runs",
    errno.EDQUOT: "the disk quota is used up; free some, or choose another folder with --runs",
    errno.EFBIG: "the file would be larger than this system allows; choose another folder with --runs",
    errno.EACCES: "no permission to write; choose another folder with --runs",
    errno.EPERM: "no permission to write; choose another folder with --runs",
    errno.EROFS: "the file system is read-only; choose another folder with --runs",
}


def storage_error(error: OSError, path: str | os.PathLike[str]) -> StorageError | None:
    """The StorageError that `error` amounts to when writing `path`, or None if it is another fault."""
    hint = _STORAGE_HINTS.get(error.errno or 0)
    return None if hint is None else StorageError(f"{os.fspath(path)}: {hint}")
