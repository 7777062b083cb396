"""What is written for people is true: commands, options, links, spaces, code, figures, the file tree."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
import typer
from pages import PAGES, ROOT, anchors, blocks, links, shown_commands

import cnn_tuner
from cnn_tuner import cli, errors
from cnn_tuner.data.registry import SOURCES
from cnn_tuner.metrics.tasks import TASKS
from cnn_tuner.oracles.registry import ORACLES
from cnn_tuner.spaces import tree as space

README = PAGES["README.md"]
COMMANDS = typer.main.get_command(cli.app).commands
MOST_BYTES = 150_000  # of a picture


def options(command: str) -> set[str]:
    return {word for parameter in COMMANDS[command].params for word in parameter.opts} | {"--help"}


@pytest.fixture(scope="module")
def made(monkeypatch_module):
    """What docs/_ext makes of the code, by the name of its module."""
    return {name: importlib.import_module(name) for name in ("commands", "space_keys", "generated")}


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs" / "_ext")
        yield patch


# Commands


def test_every_command_is_on_its_page_and_no_other():
    assert set(re.findall(r"^\| `cnn-tuner ([\w-]+)", PAGES["docs/commands.md"], re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize(("page", "words"), shown_commands(), ids=lambda each: str(each)[:60])
def test_every_shown_command_exists_with_its_options(page, words):
    program, name, *rest = words
    if program == "make":
        known = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{name}:", known, re.MULTILINE)
    else:
        assert {word for word in rest if word.startswith("--")} <= options(name)


@pytest.mark.parametrize("page", PAGES)
def test_every_option_that_is_named_exists(page):
    everywhere = set().union(*map(options, COMMANDS)) | {"--debug", "--version"}
    assert set(re.findall(r"`(--[a-z-]+)[^`]*`", PAGES[page])) <= everywhere


def test_every_command_and_option_is_in_the_reference(made):
    text = made["commands"].reference()
    for name, command in COMMANDS.items():
        part = text.partition(f"### cnn-tuner {name}\n")[2].partition("\n### ")[0]
        asked = {word for word in options(name) - {"--help"} if word.startswith("--")}
        assert asked <= set(re.findall(r"--[a-z-]+", part))
        assert part.count("\n| `") == len(command.params)
        assert made["commands"].escaped(command.help) in part


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help(name):
    for parameter in COMMANDS[name].params:
        assert parameter.help


def test_tune_names_every_source_and_oracle():
    help_ = {parameter.name: parameter.help for parameter in COMMANDS["tune"].params}
    assert all(name in help_["data"] for name in SOURCES if name != "folder")
    assert all(name in help_["oracle"] for name in ORACLES)
    assert all(name in help_["task"] for name in TASKS)


WHERE = {"data": [*SOURCES, *TASKS], "how-a-search-works": ORACLES, "spaces": space.shipped_names(), "training": TASKS}


def test_every_objective_is_named():
    assert {name for task in TASKS.values() for name in task.objectives} == set(
        re.findall(r"`(val_\w+)`", PAGES["docs/training.md"])
    )


@pytest.mark.parametrize(("page", "word"), [(page, word) for page, words in WHERE.items() for word in words])
def test_every_choice_is_named(page, word):
    assert word in PAGES[f"docs/{page}.md"]


def test_every_exit_code_is_told():
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    text = PAGES["docs/commands.md"].partition("## Exit codes\n\n")[2].split("\n\n")[0]
    assert {str(code) for code in codes} <= set(re.findall(r"\b\d+\b", text))


# Spaces and code


@pytest.mark.parametrize(("page", "example"), blocks("yaml"))
def test_an_example_space_is_valid(page, example):
    assert space.from_text(example, page).size().points > 1000


def test_a_broken_rule_is_told_as_the_page_says():
    broken = "description: A space.\nblock: {filters: {min: 64, max: 32}}"
    with pytest.raises(errors.SpaceError) as told:
        space.from_text(broken, "search_spaces/tiny.yaml")
    assert f"```\n{told.value}\n```" in PAGES["docs/spaces.md"]


def test_every_key_of_a_space_is_in_the_reference_with_an_example_that_is_valid(made):
    keys = made["space_keys"]
    assert list(keys.KEYS) == list(keys.fields())
    for name, told in keys.KEYS.items():
        section, _, key = name.rpartition(".")
        own = f"{section}: {{{key}: {told.example}}}" if section else f"{name}: {told.example}"
        lines = {"description": "description: A space.", "block": "block: {filters: 8}"}
        if section == "block" and key != "filters":
            own = f"block: {{filters: 8, {key}: {told.example}}}"
        lines[section or name] = own
        space.from_text("\n".join(lines.values()), name)
        assert f"| `{name}` | " in keys.reference()


def test_what_is_made_from_the_code_has_its_place(made):
    named = [name for text in PAGES.values() for name in re.findall(r"^<!-- made from the code: (.+) -->$", text, re.M)]
    assert sorted(named) == sorted(made["generated"].MADE)


@pytest.mark.parametrize(("page", "example"), blocks("python"))
def test_examples_are_python(page, example):
    compile(example, page, "exec")


def test_keywords_of_tune_that_are_named_exist():
    calls = [call for text in PAGES.values() for call in re.findall(r"\btune\(([^`\n]*)\)`", text)]
    named = {word for call in calls for word in re.findall(r"\b(\w+)=", call)}
    assert len(named) > 5
    assert named <= set(inspect.signature(cnn_tuner.tune).parameters)


def test_the_worked_example_is_right():
    for page in ("README.md", "docs/seven-steps.md"):
        [block] = [code for name, code in blocks("") if name == page and "=  25" in code]
        rows = [[int(number) for number in re.findall(r"\d+", line)[:6]] for line in block.splitlines()]
        products = [left * right for row in rows for left, right in zip(row[:3], row[3:], strict=True)]
        terms = [int(number) for number in block.split("=")[1].split("+")]
        assert [product for product in products if product] == terms
        assert sum(terms) == 25


# Links, pictures, tests that are named


@pytest.mark.parametrize(("page", "link"), links())
def test_every_link_leads_somewhere(page, link):
    path, _, anchor = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    assert target.exists()
    if anchor:
        assert anchor in anchors(target.read_text(encoding="utf-8"))


def test_every_page_is_in_the_list_of_pages():
    listed = re.findall(r"^([a-z-]+)$", PAGES["docs/index.md"], re.MULTILINE)
    assert sorted(["index", *listed]) == sorted(Path(page).stem for page in PAGES if page != "README.md")


def test_pictures_are_small_and_all_are_shown():
    shown = {Path(link).name for _, link in links() if "images/" in link}
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert shown == {path.name for path in pictures}
    assert all(path.stat().st_size < MOST_BYTES for path in pictures)


PROMISES = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGES["docs/reliability.md"])


def test_each_promise_names_its_test():
    rows = re.findall(r"^\| (?!promise |-)(.*)$", PAGES["docs/reliability.md"], re.MULTILINE)
    assert len(rows) > 20
    assert all("::test_" in row for row in rows)


@pytest.mark.parametrize(("file", "test"), PROMISES)
def test_the_test_of_each_promise_exists(file, test):
    assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")


# The README


def test_the_readme_is_read_in_one_go():
    assert len(README.splitlines()) <= 150


def test_the_figures_of_the_readme_are_those_of_the_benchmarks():
    told = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.md"))
    measured = {Decimal(number) for number in re.findall(r"\b0\.\d{3,}\b", told)}
    rounded = {number.quantize(Decimal("0.001"), ROUND_HALF_UP) for number in measured}
    table = README.partition("## What it reaches\n")[2].partition("\n## ")[0]
    figures = {Decimal(number) for number in re.findall(r"\b0\.\d{3}\b", table)}
    assert len(figures) >= 7
    assert figures <= rounded


def test_the_file_tree_has_every_room_with_its_purpose():
    tree = re.search(r"^ {4}cnn_tuner/\n(.*?)^ {4}search_spaces/", README, re.MULTILINE | re.DOTALL).group(1)
    named = dict(re.findall(r"^ {6}(\S+) +(.*)$", tree, re.MULTILINE))
    package = ROOT / "cnn_tuner"
    rooms = {f"{path.parent.relative_to(package)}/": path for path in package.rglob("*/__init__.py")}
    files = {path.name: path for path in package.glob("*.py") if path.name != "__init__.py"}
    purposes = {name: ast.get_docstring(ast.parse(path.read_text())) for name, path in (rooms | files).items()}
    assert named == {name: text.splitlines()[0] for name, text in purposes.items()}


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
