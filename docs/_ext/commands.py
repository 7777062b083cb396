"""The reference of the command line, from the commands themselves."""

from __future__ import annotations

import re

import typer

from cnn_tuner.cli import app
from cnn_tuner.commands import helping

HEAD = "| | default | |\n|---|---|---|"


def reference() -> str:
    """Every command: a heading, its purpose, how it is called, arguments and options in the sections of its help."""
    return "\n\n".join(_command(name, each) for name, each in typer.main.get_command(app).commands.items())


def _command(name: str, command: typer.core.TyperCommand) -> str:
    context = typer.Context(command, info_name=f"cnn-tuner {name}")
    usage = command.get_usage(context).removeprefix("Usage: ")
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    first, *others = helping.sections(command.params).items()
    tables = [_table(arguments + first[1], context)]
    tables += [f"**{title}**\n\n{_table(those, context)}" for title, those in others]
    return "\n\n".join([f"### cnn-tuner {name}", escaped(command.help), f"```\n{usage}\n```", *tables])


def _table(parameters: list[typer.core.TyperOption | typer.core.TyperArgument], context: typer.Context) -> str:
    return "\n".join([HEAD, *(_row(each, context) for each in parameters)])


def _row(parameter: typer.core.TyperOption | typer.core.TyperArgument, context: typer.Context) -> str:
    names, told = parameter.get_help_record(context)
    found = re.fullmatch(r"(.*?)(?:  \[(?:default: (.*)|required)\])?", told, re.DOTALL)
    default = f"`{found[2]}`" if found[2] else ""  # empty where the help tells it, or where there is none
    return f"| `{names.replace('|', '/')}` | {default} | {escaped(found[1])} |"


def escaped(text: str) -> str:
    """Plain text as Markdown."""
    return re.sub(r"([\\`*_<>|\[\]{}$])", r"\\\1", text.strip())
