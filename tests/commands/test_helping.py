"""The help of commands with many options: in sections, each option once."""

from __future__ import annotations

import typer

from cnn_tuner import cli
from cnn_tuner.commands import helping

COMMANDS = typer.main.get_command(cli.app).commands


def test_sections_name_no_option_that_is_not_there():
    there = {each.name for command in COMMANDS.values() for each in command.params}
    assert {name for names in helping.SECTIONS.values() for name in names} <= there


def test_an_option_is_in_one_section_and_what_most_need_in_the_first(cnn_tuner):
    code, told, _ = cnn_tuner("tune", "--help")
    titles = [line[:-1] for line in told.splitlines() if line[:1].isalpha() and line.endswith(":")]
    assert code == 0
    assert titles == ["Options", *helping.SECTIONS]
    shown = [line.split()[0].rstrip(",") for line in told.splitlines() if line.startswith("  -")]
    assert len(shown) == len(set(shown)) == len(COMMANDS["tune"].params) + 1
    assert shown[:3] == ["--data", "--space", "--budget"]
    assert len(shown) - sum(map(len, helping.SECTIONS.values())) <= 8


def test_a_command_with_few_options_has_one_list(cnn_tuner):
    _, told, _ = cnn_tuner("predict", "--help")
    assert [line for line in told.splitlines() if line.endswith(":")] == ["Arguments:", "Options:"]


def test_all_commands_are_told_with_all_of_what_they_are_for(cnn_tuner):
    code, told, _ = cnn_tuner("--help")
    assert code == 0
    words = " ".join(told.split())
    for name, command in COMMANDS.items():
        purpose = " ".join(command.help.split("\n\n")[0].split()).removesuffix(".")
        assert f"{name} {purpose}" in words
    assert "..." not in told.replace("[ARGS]...", "")
    assert max(map(len, told.splitlines())) <= 80
