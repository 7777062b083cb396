"""What the pages show as code and as output is what happens: run in a new folder, as by somebody who reads them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from console import first_difference, run, steps
from pages import PAGES, ROOT, blocks

from cnn_tuner.export.served import Served

PAGES_IN_ORDER = ["README.md", "docs/first-model.md"]

CLAIMED = """\
Set up in 139 seconds
...
winner    trial 2: 1,561,088 multiply-adds
refit     ...
curve     ▁▂▇█ 1e-07
"""
TOLD = """\
Set up in 61.5 seconds

one line
another line
winner  trial 11: 640 multiply-adds
refit
curve   ▁▁▁▂▃▇██ 3e-08
"""


def test_an_output_may_have_other_numbers_curves_and_what_three_dots_stand_for():
    assert first_difference(CLAIMED, TOLD) is None
    assert first_difference("...\n", "") is None
    assert first_difference("", "\n") is None


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("winner  trial", "loser  trial", "claimed: 'winner trial 0: 0 multiply-adds'"),
        ("curve   ", "curves  ", "claimed: 'curve ~ 0'"),
        ("Set up in", "Set up for", "claimed: 'Set up in 0 seconds'"),
        ("refit\n", "", "claimed: 'refit ...'"),
        ("3e-08\n", "3e-08\nan error\n", "not claimed: 'an error'"),
        ("1,", "x", None),
    ],
)
def test_an_output_may_not_say_something_else(before, after, complaint):
    found = first_difference(CLAIMED, TOLD.replace(before, after))
    assert found is None if complaint is None else found.startswith(complaint)


def test_every_page_with_an_output_has_its_turn():
    assert {page for page, _ in blocks("console")} == set(PAGES_IN_ORDER)


def test_commands_and_what_is_claimed_of_them_are_told_apart():
    assert steps("$ one --x\nsays\nmore\n$ two\n") == [("one --x", "says\nmore\n"), ("two", "")]


def test_commands_run_in_one_shell_with_their_exit_codes(tmp_path):
    found = run(["word=hello", "echo $word; echo error >&2", "false"], tmp_path, dict(os.environ))
    assert found == [(0, ""), (0, "hello\nerror\n"), (1, "")]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_first_hour_prints_what_the_pages_say(tmp_path):
    copy, home = tmp_path / "cnn_tuner", tmp_path / "home"
    copy.mkdir()
    home.mkdir()
    # What a fresh checkout has; git need not know this one.
    for path in (each for each in ROOT.iterdir() if each.name not in ("runs", "browser-shots") and each.name[0] != "."):
        if path.is_dir():
            shutil.copytree(path, copy / path.name, ignore=shutil.ignore_patterns("__pycache__", "_build"))
        else:
            shutil.copy(path, copy)
    # As in a shell in which nothing was set. The make that may run these tests hands its own ARGS on.
    set_by_others = re.compile("(CNN_TUNER|TF_|KERAS|MAKE|MFLAGS).*|ARGS|PYTHON|RUN|DIR|IMAGE")
    kept = {name: value for name, value in os.environ.items() if not set_by_others.fullmatch(name)}
    # Packages that were fetched for these tests' own .venv are not fetched again.
    cache = subprocess.run([sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True).stdout.strip()
    told = [
        step for page in PAGES_IN_ORDER for name, block in blocks("console") if name == page for step in steps(block)
    ]
    # Who did on the first page what the second begins with goes on from there.
    commands = list(dict.fromkeys(command for command, _ in told))
    found = dict(zip(commands, run(commands, copy, kept | {"HOME": str(home), "PIP_CACHE_DIR": cache}), strict=True))
    shutil.rmtree(copy / ".venv", ignore_errors=True)
    for command, claimed in told:
        code, output = found[command]
        assert code == 0, f"{command}: {output}"
        difference = first_difference(claimed, output)
        assert difference is None, f"{command}: {difference}\n{output}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "run"),
    [
        ("README.md", "memory-auto-1"),
        ("docs/python.md", "memory-auto-1"),
        ("docs/own-networks.md", "digits-build-1"),
    ],
)
def test_the_examples_from_python_run(tmp_path, page, run):
    [example] = [code for name, code in blocks("python") if name == page]
    script = tmp_path / "script.py"
    script.write_text(re.sub(r'"\d+m"', '"50s"', example))
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    told = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert not told.stderr or example.startswith("import keras"), "which says what TensorFlow says"
    assert (tmp_path / "runs" / run / "report.html").is_file()


READERS = ("ai_edge_litert", "onnxruntime", "tf2onnx")


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A folder with a run on the digits, exported in every format that can be had here."""
    folder = tmp_path_factory.mktemp("production")
    formats = "keras" + ",litert,litert_int8,onnx" * all(map(find_spec, READERS))
    words = ["tune", "--max-trials", "1", "--epochs", "1", "--finalists", "1", "--final-seeds", "1", "--no-refit"]
    command = [sys.executable, "-m", "cnn_tuner", *words, "--final-epochs", "1", "--format", formats]
    told = subprocess.run(
        command, cwd=folder, env=dict(os.environ, PYTHONPATH=str(ROOT)), capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("code", [code for page, code in blocks("python") if page == "docs/production.md"])
def test_an_export_is_read_as_the_page_says(exported, code):
    if not all(map(find_spec, READERS)) and "keras" not in code and "saved_model" not in code:
        pytest.skip("the packages of this format are not installed")
    told = subprocess.run([sys.executable, "-c", code], cwd=exported, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("[[") == 1, "the numbers of one image"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None or sys.platform != "linux", reason="no C compiler, or another linker")
def test_a_program_in_c_says_what_python_says(exported):
    [program] = [code for page, code in blocks("c") if page == "docs/production.md"]
    [compiling] = [code for page, code in blocks("sh") if page == "docs/production.md" and "cc " in code]
    folder = Path(find_spec("tensorflow").submodule_search_locations[0])
    compiling = re.sub(r"^tensorflow=.*$", f"tensorflow={folder}", compiling, flags=re.MULTILINE)
    (exported / "predict.c").write_text(program)
    subprocess.run(["bash", "-ec", compiling], cwd=exported, check=True)
    told = subprocess.run(["./predict"], cwd=exported, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    served = Served(next((exported / "runs").glob("*/export/*/1")))
    expected = served.answer("serving_default", np.zeros((1, 8, 8, 1), np.uint8))["probabilities"][0]
    np.testing.assert_allclose([float(line) for line in told.stdout.splitlines()], expected, atol=1e-6)


@pytest.mark.slow
def test_the_tensors_that_the_page_names_for_c_are_those_of_an_export(exported):
    from tensorflow.python.tools import saved_model_utils

    folder = next((exported / "runs").glob("*/export/*/1"))
    signature = saved_model_utils.get_meta_graph_def(str(folder), "serve").signature_def["serving_default"]
    page = PAGES["docs/production.md"]
    for tensor in (signature.inputs["image"].name, signature.outputs["probabilities"].name):
        name, _, place = tensor.partition(":")
        assert f"`{tensor}`" in page
        assert f'"{name}"), {place}}}' in page
