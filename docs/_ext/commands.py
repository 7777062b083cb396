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
    is_option = parameter.param_type_name == "option"
    names = ", ".join(parameter.opts) if is_option else parameter.make_metavar(context)
    kind = "" if not is_option or parameter.is_flag else f" {parameter.make_metavar(context)}"
    return f"| `{names}{kind}` | {_default(parameter)} | {escaped(parameter.help)} |"


def _default(parameter: typer.core.TyperOption | typer.core.TyperArgument) -> str:
    """Empty where the help tells it, or where there is none."""
    default = parameter.default
    is_told = default is None or default is False or "Default:" in parameter.help
    return "" if is_told else f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def escaped(text: str) -> str:
    """Plain text as Markdown."""
    return re.sub(r"([\\`*_<>|\[\]{}$])", r"\\\1", text.strip())
