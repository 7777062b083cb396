"""What is written for people is true: commands, options, the file tree, the example space, the heads of the spaces."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cnn_tuner import cli, errors
from cnn_tuner.data.registry import SOURCES
from cnn_tuner.metrics.tasks import TASKS
from cnn_tuner.oracles.registry import ORACLES
from cnn_tuner.spaces import tree as space

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(cli.app).commands


def options(command: str) -> set[str]:
    return {word for parameter in COMMANDS[command].params for word in parameter.opts} | {"--help"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def shown_commands() -> list[list[str]]:
    """Every `cnn-tuner ...` and `make ...` line of code in the README."""
    lines = re.findall(r"^(?: {4}|\$ )(?:cnn-tuner|make) .*$", README, re.MULTILINE)
    return [shlex.split(line.strip().removeprefix("$ "), comments=True) for line in lines]


def test_every_command_is_in_the_readme_and_no_other():
    assert set(re.findall(r"^\| `cnn-tuner ([\w-]+)", README, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("words", shown_commands(), ids=" ".join)
def test_every_shown_command_exists_with_its_options(words):
    program, name, *rest = words
    if program == "make":
        known = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{name}:", known, re.MULTILINE)
    else:
        assert {word for word in rest if word.startswith("--")} <= options(name)


def test_every_option_named_in_the_readme_exists():
    everywhere = set().union(*map(options, COMMANDS)) | {"--json"}
    assert set(re.findall(r"`(--[a-z-]+)`", README)) <= everywhere


def test_the_file_tree_has_every_room_with_its_purpose():
    tree = re.search(r"^ {4}cnn_tuner/\n(.*?)^ {4}search_spaces/", README, re.MULTILINE | re.DOTALL).group(1)
    named = dict(re.findall(r"^ {6}(\S+) +(.*)$", tree, re.MULTILINE))
    package = ROOT / "cnn_tuner"
    rooms = {f"{path.parent.relative_to(package)}/": path for path in package.rglob("*/__init__.py")}
    files = {path.name: path for path in package.glob("*.py") if path.name != "__init__.py"}
    purposes = {name: ast.get_docstring(ast.parse(path.read_text())) for name, path in (rooms | files).items()}
    assert named == {name: text.splitlines()[0] for name, text in purposes.items()}


def test_the_example_space_is_valid():
    [example] = blocks("yaml")
    assert space.from_text(example, "README.md").size().points > 1000


@pytest.mark.parametrize("example", blocks("python"))
def test_examples_are_python(example):
    compile(example, "README.md", "exec")


@pytest.mark.slow
@pytest.mark.parametrize(("what", "run"), [("load_digits", "memory-auto-1"), ("def build(hp)", "digits-build-1")])
def test_the_examples_from_python_run(tmp_path, what, run):
    [example] = [block for block in blocks("python") if what in block]
    script = tmp_path / "script.py"
    script.write_text(example.replace('"2m"', '"50s"'))
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    told = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert not told.stderr or example.startswith("import keras"), "which says what TensorFlow says"
    assert (tmp_path / "runs" / run / "report.html").is_file()


@pytest.mark.parametrize("word", [*SOURCES, *ORACLES, *TASKS, *space.shipped_names()])
def test_every_choice_is_named(word):
    assert word in README


def test_every_exit_code_is_told():
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    text = README[README.index("Ctrl-C ends a search") :].split("\n\n")[0]
    assert {str(code) for code in codes} <= set(re.findall(r"\b\d+\b", text))


def test_tune_names_every_source_and_oracle():
    help_ = {parameter.name: parameter.help for parameter in COMMANDS["tune"].params}
    assert all(name in help_["data"] for name in SOURCES if name != "folder")
    assert all(name in help_["oracle"] for name in ORACLES)
    assert all(name in help_["task"] for name in TASKS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help(name):
    for parameter in COMMANDS[name].params:
        assert parameter.help


def test_the_changelog_is_kept():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "keepachangelog.com" in text
    assert "## [Unreleased]" in text


def test_nothing_names_a_place_on_one_machine():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    for name in names:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".txt"} and path.is_file():
            assert not re.search(r"/(root|home)/\w", path.read_text(encoding="utf-8")), name
