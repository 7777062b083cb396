"""What --help shows: commands and options in sections, those that most need first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

FIRST = "Options"
MOST = 20  # options that a command has in one list
# The parameters of commands that have more, by their section; those that are named nowhere are in the first.
SECTIONS = {
    "Networks": (
        "hypermodel",
        "max_params",
        "max_macs",
        "max_activation_bytes",
        "max_latency",
        "cost",
    ),
    "Search": ("oracle", "sampler", "max_trials", "max_epochs", "folds", "seed", "keep"),
    "Winner": ("finalists", "final_seeds", "final_epochs", "prefer", "no_refit", "formats"),
    "Images": (
        "task",
        "image_size",
        "channels",
        "fit",
        "skip_broken",
        "follow_links",
        "leave_out",
        "image_column",
        "label_column",
        "cache",
        "cache_limit",
    ),
    "Training, validation and test part": (
        "val_fraction",
        "test_fraction",
        "split",
        "split_column",
        "group_column",
        "group_by",
        "allow_leakage",
    ),
    "Machine or cluster": (
        "workers",
        "precision",
        "timeout",
        "executor",
        "address",
        "cpus_per_trial",
        "gpus_per_trial",
        "shared_dir",
    ),
}


def sections(parameters: Iterable[Any]) -> dict[str, list[Any]]:
    """The options among a command's parameters, by the title of their section, in the order of the help."""
    options = [each for each in parameters if each.param_type_name == "option"]
    if len(options) <= MOST:
        return {FIRST: options}
    by_name = {each.name: each for each in options}
    found = {title: [by_name.pop(name) for name in names if name in by_name] for title, names in SECTIONS.items()}
    return {FIRST: list(by_name.values())} | {title: those for title, those in found.items() if those}


class Command(TyperCommand):
    """A command whose options are in sections if it has many."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes its arguments and options."""
        parameters = self.get_params(ctx)
        arguments = [each for each in parameters if each.param_type_name == "argument"]
        for title, those in ({"Arguments": arguments} | sections(parameters)).items():
            rows = [row for each in those if (row := each.get_help_record(ctx))]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class Commands(TyperGroup):
    """All commands, in the sections that they were registered with, each with all of what it is for."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes the name of each command and what it does."""
        found: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            purpose = " ".join((command.help or "").split("\n\n")[0].split()).removesuffix(".")
            title = getattr(command, "rich_help_panel", None) or "Commands"
            found.setdefault(title, []).append((name, purpose))
        widest = max(len(name) for name in self.commands)
        for title, rows in found.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), told) for name, told in rows])
