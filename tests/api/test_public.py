"""What is public is documented, by examples that run; importing it loads nothing heavy; it is typed."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import cnn_tuner

ROOT = Path(__file__).parent.parent.parent
HEAVY = ("tensorflow", "keras", "numpy", "typer", "rich", "pydantic")


def public(kind: type) -> dict[str, object]:
    """The methods and properties that a class has of its own."""
    return {
        f"{kind.__name__}.{name}": each
        for name, each in vars(kind).items()
        if not name.startswith("_") and (inspect.isfunction(each) or isinstance(each, property))
    }


NAMES = {name: getattr(cnn_tuner, name) for name in cnn_tuner.__all__}
CLASSES = {name: each for name, each in NAMES.items() if inspect.isclass(each)}
ERRORS = {name for name, each in CLASSES.items() if issubclass(each, Exception)}
MEMBERS = {name: each for kind in CLASSES.values() for name, each in public(kind).items()}
EVERYTHING = NAMES | MEMBERS


@pytest.mark.parametrize("name", EVERYTHING)
def test_what_is_public_is_documented(name):
    each = EVERYTHING[name]
    text = inspect.getdoc(each) or ""
    assert text.splitlines()[0].endswith((".", ":"))
    if isinstance(each, property) or name in ERRORS:
        return
    if name.partition(".")[0] in ("Trial", "Epoch") and "." in name:
        return
    assert "\nExample:\n    >>> " in text
    if not inspect.isfunction(each):
        return
    signature = inspect.signature(each)
    parameters = [parameter for parameter in signature.parameters if parameter != "self"]
    assert all(_is_told(parameter, text) for parameter in parameters)
    assert (signature.return_annotation in ("None", None)) or "\nReturns:\n" in text


def _is_told(parameter: str, text: str) -> bool:
    """Whether a line of the arguments begins with the names of some, this one among them."""
    heads = re.findall(r"^    ([\w, \n]+?): ", text.partition("\nArgs:\n")[2], re.MULTILINE)
    return parameter in {name for head in heads for name in re.split(r",\s+", head.strip())}


def examples(names) -> dict[str, list[doctest.Example]]:
    """Of those names that have one."""
    parser = doctest.DocTestParser()
    found = {name: parser.get_examples(inspect.getdoc(EVERYTHING[name]) or "") for name in names}
    return {name: own for name, own in found.items() if own}


def follow(name: str, own: list[doctest.Example], run: cnn_tuner.Run, toy, folder: Path) -> None:
    data = toy.data["train"] if name in PLAIN else toy.data
    known = {"cnn_tuner": cnn_tuner, "run": run, "data": data, "space": toy.space, "folder": folder}
    for example in own:
        exec(compile(example.source, f"the example of {name}", "single"), known)


PLAIN = {"Predictions", "Export.predict"}  # examples whose data is a pair of arrays
TRAINING = ("Run.export", "Run.resume", "Run.extend", "Export.verify", "tune", "Callback")  # in this order


@pytest.mark.slow
def test_the_examples_run(copied, toy, tmp_path):
    for name, own in examples(EVERYTHING.keys() - set(TRAINING)).items():
        if name != "Trials.to_pandas" or find_spec("pandas") is not None:
            follow(name, own, copied, toy, tmp_path)


@pytest.mark.slow
def test_the_examples_that_train_run(copied, toy, inline, tmp_path):
    for name, own in examples(TRAINING).items():
        follow(name, own, copied, toy, tmp_path)


def test_importing_loads_nothing_heavy():
    code = f"import sys, cnn_tuner; print([name for name in {HEAVY!r} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout == "[]\n"


def test_names_are_found_when_they_are_asked_for():
    assert set(cnn_tuner.__all__) <= set(dir(cnn_tuner))
    with pytest.raises(AttributeError, match=r"^module 'cnn_tuner' has no attribute 'tuned'$"):
        cnn_tuner.tuned  # noqa: B018
    assert (ROOT / "cnn_tuner" / "py.typed").is_file()


@pytest.mark.slow
def test_a_program_that_uses_everything_is_typed():
    file = Path(__file__).parent / "uses_everything.py"
    words = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-incremental", str(file)]
    told = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert told.returncode == 0, told.stdout
    assert {f"cnn_tuner.{name}" for name in cnn_tuner.__all__} <= set(_words(file.read_text()))


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() or c in "._" else " " for c in text).split()
