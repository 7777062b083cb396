"""The reference of the command line, from the commands themselves."""

from __future__ import annotations

import re

import typer

from cnn_tuner.cli import app

HEAD = "| | default | |\n|---|---|---|"


def reference() -> str:
    """Every command with its arguments and options: a heading, its purpose, how it is called, a table."""
    return "\n\n".join(_command(name, each) for name, each in typer.main.get_command(app).commands.items())


def _command(name: str, command: typer.core.TyperCommand) -> str:
    context = typer.Context(command, info_name=f"cnn-tuner {name}")
    usage = command.get_usage(context).removeprefix("Usage: ")
    rows = "\n".join(_row(each, context) for each in command.params)
    return f"### cnn-tuner {name}\n\n{escaped(command.help)}\n\n```\n{usage}\n```\n\n{HEAD}\n{rows}"


def _row(parameter: typer.core.TyperOption | typer.core.TyperArgument, context: typer.Context) -> str:
    names, told = parameter.get_help_record(context)
    found = re.fullmatch(r"(.*?)(?:  \[(?:default: (.*)|required)\])?", told, re.DOTALL)
    default = f"`{found[2]}`" if found[2] else ""  # empty where the help tells it, or where there is none
    return f"| `{names.replace('|', '/')}` | {default} | {escaped(found[1])} |"


def escaped(text: str) -> str:
    """Plain text as Markdown."""
    return re.sub(r"([\\`*_<>|\[\]{}$])", r"\\\1", text.strip())
