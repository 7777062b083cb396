"""The executors by name. A new one is one file and one line here; its module is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from cnn_tuner.errors import UsageError
from cnn_tuner.executors.base import Executor, Settings

EXECUTORS = {
    "inline": "InlineExecutor",
    "processes": "ProcessExecutor",
    "ray": "RayExecutor",
}
FOR_PEOPLE = ("processes", "ray")  # one that trains in the driver's own process has no other use than tests


def choose(name: str | None, default: str) -> str:
    """The executor that a person may name.

    Raises:
        UsageError: there is none of this name for people.
    """
    if name is not None and name not in FOR_PEOPLE:
        raise UsageError(f"--executor: unknown: {name!r}; choices: {', '.join(FOR_PEOPLE)}")
    return default if name is None else name


def check_name(name: str, where: str = "--executor") -> None:
    """Raises UsageError when no executor has this name."""
    if name not in EXECUTORS:
        raise UsageError(f"{where}: unknown: {name!r}; choices: {', '.join(EXECUTORS)}")


def check_installed(name: str) -> None:
    """Raises UsageError when an executor needs a package that is not here."""
    if name == "ray" and find_spec("ray") is None:
        raise UsageError("--executor ray: needs ray; install it with pip install 'cnn-tuner[ray]'")


def create(name: str, settings: Settings) -> Executor:
    """The executor called `name`."""
    check_name(name)
    executor: Executor = getattr(import_module(f"cnn_tuner.executors.{name}"), EXECUTORS[name])(settings)
    return executor
