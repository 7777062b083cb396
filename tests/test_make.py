"""What the Makefile says and does before any package is there: with made-up interpreters, in a folder of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parent.parent / "Makefile"
MAKE = shutil.which("make")
TARGETS = {
    "help",
    "install",
    "tune",
    "fashion",
    "plan",
    "tensorboard",
    "report",
    "export",
    "explain",
    "bench",
    "test",
    "check",
    "test-all",
    "test-browser",
    "test-cluster",
    "test-sources",
    "chromium",
    "docs",
    "lock",
    "assets",
    "clean",
}
PIP = "-m pip --quiet --quiet --disable-pip-version-check --no-input install"

pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed")

# A Python of another version, or without a module. It makes a .venv that holds itself, and notes what pip is asked for.
FAKE_PYTHON = """
import pathlib, shutil, sys
myself, version, missing, *arguments = sys.argv[1:]
sys.version, sys.version_info = version + " (made up)", tuple(int(part) for part in version.split("."))
sys.modules.update({name: None for name in missing.split()})
if arguments[0] == "-c":
    exec(arguments[1])
elif arguments[:2] == ["-m", "venv"]:
    assert arguments[2:] == ["--clear", ".venv"], arguments
    shutil.rmtree(".venv", ignore_errors=True)
    pathlib.Path(".venv/bin").mkdir(parents=True)
    shutil.copy(myself, ".venv/bin/python")
elif arguments[:2] == ["-m", "pip"]:
    with open("pip.log", "a") as log:
        print(*arguments, file=log)
    if pathlib.Path("no-network").exists():
        sys.exit("ERROR: no network")
    if "--editable" in arguments:
        pathlib.Path(".venv/bin/cnn-tuner").write_text(f"#!{pathlib.Path.cwd()}/.venv/bin/python")
"""


class Checkout:
    """A folder with the Makefile and a list of packages, and a PATH on which only made-up interpreters lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a checkout"  # people do put spaces into names
        self.bin = folder / "bin"
        self.fake = folder / "fake_python.py"
        self.folder.mkdir()
        self.bin.mkdir()
        self.fake.write_text(FAKE_PYTHON)
        shutil.copy(MAKEFILE, self.folder)
        self.list_packages("keras==3.15.1\n")
        for tool in ("awk", "cmp", "cp", "date", "find", "grep", "rm", "touch"):
            (self.bin / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")

    def add_python(self, name: str, version: str, without: str = "") -> Path:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{self.fake}" "$0" "{version}" "{without}" "$@"\n')
        path.chmod(0o755)
        return path

    def list_packages(self, text: str, *, newer: bool = True) -> None:
        """Writes requirements.txt, newer or older than the stamp of .venv if there is one; both dates are past."""
        path = self.folder / "requirements.txt"
        path.write_text(text)
        now = time.time()
        if self.stamp.exists():
            os.utime(self.stamp, (now - 60, now - 60))
            modified = now - 30 if newer else now - 90
            os.utime(path, (modified, modified))

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(MAKE), *arguments],
            cwd=self.folder,
            env={"PATH": str(self.bin), "LC_ALL": "C", **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def refusal(self, *arguments: str) -> str:
        """The only line that a `make install` that must fail says, but for make's own closing line."""
        done = self.make("install", *arguments)
        line, *rest = done.stderr.splitlines()
        assert done.returncode == 2
        assert done.stdout == ""
        assert len(rest) == 1 and rest[0].startswith("make: *** ")
        assert not (self.folder / ".venv").exists()
        return line

    @property
    def stamp(self) -> Path:
        return self.folder / ".venv" / ".installed"

    @property
    def pip_log(self) -> list[str]:
        path = self.folder / "pip.log"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def installed(checkout: Checkout) -> Checkout:
    """A checkout whose .venv is up to date, with Python 3.11.7."""
    checkout.add_python("python3", "3.11.7")
    done = checkout.make("install")
    assert (done.returncode, done.stderr) == (0, "")
    checkout.list_packages("keras==3.15.1\n", newer=False)
    (checkout.folder / "pip.log").unlink()
    return checkout


NEEDED = "cnn-tuner needs Python 3.10 to 3.13 with venv, but "
OR_NAME = "or name another Python: make install PYTHON=/path/to/python3.12"
EXAMPLES = "sudo apt install python3.12-venv, brew install python@3.12, pyenv install 3.12"
INSTALL_FIT = f"install a fit one (such as: {EXAMPLES})"
INSTALL_VENV = "install it (Debian, Ubuntu: sudo apt install python%s-venv)"
INSTALL_ANY = "install it (Debian, Ubuntu: sudo apt install python3 python3-venv; macOS: brew install python@3.12)"


def test_help_lists_every_target(checkout: Checkout) -> None:
    done = checkout.make("help")
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.split()[1] for line in done.stdout.splitlines()} == TARGETS
    assert all(len(line.split()) > 3 for line in done.stdout.splitlines())
    assert checkout.make().stdout == done.stdout


def test_every_target_is_listed_by_help_and_never_taken_for_a_file() -> None:
    text = MAKEFILE.read_text()
    [phony] = re.findall(r"^\.PHONY: (.*)$", text.replace("\\\n", ""), re.MULTILINE)
    assert set(phony.split()) - {"FORCE"} == TARGETS
    assert set(re.findall(r"^([a-z-]+):", text, re.MULTILINE)) == TARGETS


@pytest.mark.parametrize("version", ["2.7.18", "3.9.18", "3.14.0"])
def test_a_python_too_old_or_new_is_refused(checkout: Checkout, version: str) -> None:
    checkout.add_python("python3", version)
    assert checkout.refusal() == f"{NEEDED}python3 is {version}: {INSTALL_FIT}, {OR_NAME}"


def test_every_unfit_python_is_named(checkout: Checkout) -> None:
    checkout.add_python("python3", "3.14.0")
    checkout.add_python("python3.10", "3.9.18")
    assert "but python3 is 3.14.0, python3.10 is 3.9.18: install" in checkout.refusal()


@pytest.mark.parametrize("module", ["ensurepip", "venv"])
def test_a_python_without_venv_is_told_its_package(checkout: Checkout, module: str) -> None:
    checkout.add_python("python3", "3.11.2", without=module)
    assert checkout.refusal() == f"{NEEDED}python3 (3.11.2) is without venv: {INSTALL_VENV % '3.11'}, {OR_NAME}"


def test_a_missing_venv_is_told_before_a_wrong_version(checkout: Checkout) -> None:
    checkout.add_python("python3", "3.14.0")
    checkout.add_python("python3.12", "3.12.3", without="ensurepip")
    assert "but python3.12 (3.12.3) is without venv" in checkout.refusal()


def test_no_python_at_all(checkout: Checkout) -> None:
    names = "python3 python3.13 python3.12 python3.11 python3.10"
    assert checkout.refusal() == f"{NEEDED}found none under the name {names}: {INSTALL_ANY}, {OR_NAME}"


def test_a_name_that_is_no_python_is_passed_over(checkout: Checkout) -> None:
    """As the names that pyenv puts on PATH for versions that are not switched on."""
    shim = checkout.bin / "python3"
    shim.write_text("#!/bin/sh\necho 'pyenv: python3: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    assert "but found none under the name python3 " in checkout.refusal()


@pytest.mark.parametrize(
    ("version", "without", "message"),
    [
        ("3.9.18", "", f"{NEEDED}mine is 3.9.18: {INSTALL_FIT}, {OR_NAME}"),
        ("3.13.1", "ensurepip", f"{NEEDED}mine (3.13.1) is without venv: {INSTALL_VENV % '3.13'}, {OR_NAME}"),
        ("", "", f"{NEEDED}found none under the name mine: {INSTALL_ANY}, {OR_NAME}"),
    ],
)
def test_an_unfit_python_that_was_asked_for_is_refused(
    checkout: Checkout, version: str, without: str, message: str
) -> None:
    checkout.add_python("python3", "3.11.7")
    if version:
        checkout.add_python("mine", version, without)
    assert checkout.refusal("PYTHON=mine") == message


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"python3": "3.10.0", "python3.13": "3.13.0"}, "3.10.0"),
        ({"python3": "3.9.18", "python3.11": "3.11.7", "python3.12": "3.12.1"}, "3.12.1"),
        ({"python3": "3.14.0", "python3.10": "3.10.13"}, "3.10.13"),
    ],
)
def test_the_first_fit_python_is_chosen(checkout: Checkout, pythons: dict[str, str], chosen: str) -> None:
    for name, version in pythons.items():
        checkout.add_python(name, version)
    assert checkout.make("install").stdout.startswith(f"Setting up .venv with Python {chosen}: about ")


def test_a_python_without_venv_is_passed_over_for_one_that_has_it(checkout: Checkout) -> None:
    checkout.add_python("python3", "3.11.2", without="ensurepip")
    checkout.add_python("python3.10", "3.10.13")
    assert "with Python 3.10.13" in checkout.make("install").stdout


def test_install_takes_the_list_and_fetches_nothing_else(checkout: Checkout) -> None:
    checkout.add_python("python3", "3.11.7")
    done = checkout.make("install")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"Setting up \.venv .*\nSet up \.venv in \d+ seconds\n", done.stdout)
    assert checkout.pip_log == [
        f"{PIP} --only-binary :all: -r requirements.txt",
        f"{PIP} --no-deps --no-build-isolation --editable .",
    ]


def test_nothing_is_done_while_the_list_is_older_than_the_stamp(installed: Checkout) -> None:
    assert installed.make("-n", "install").stdout == "make: Nothing to be done for 'install'.\n"
    assert installed.make("install").returncode == 0
    assert installed.pip_log == []


def test_a_changed_list_is_installed(installed: Checkout) -> None:
    installed.list_packages("keras==3.16.0\n")
    assert "pip" in installed.make("-n", "install").stdout
    assert installed.pip_log == []
    assert installed.make("install").returncode == 0
    assert len(installed.pip_log) == 2
    assert installed.stamp.read_text() == "keras==3.16.0\n"


def test_a_list_with_the_same_text_and_a_later_date_costs_nothing(installed: Checkout) -> None:
    installed.list_packages("keras==3.15.1\n")
    assert "pip" in installed.make("-n", "install").stdout
    assert installed.make("install").stdout == ""
    assert installed.pip_log == []
    assert "Nothing to be done" in installed.make("install").stdout


@pytest.mark.parametrize("before", ["nothing", "an older list"])
def test_an_install_that_failed_is_repeated_from_the_start(checkout: Checkout, before: str) -> None:
    checkout.add_python("python3", "3.11.7")
    if before == "an older list":
        checkout.make("install")
        checkout.list_packages("keras==3.16.0\n")
    no_network = checkout.folder / "no-network"
    no_network.touch()
    done = checkout.make("install")
    assert done.returncode == 2
    assert done.stderr.startswith("ERROR: no network\n")
    assert "Set up" not in done.stdout
    assert not checkout.stamp.exists()
    no_network.unlink()
    assert checkout.make("install").returncode == 0
    assert checkout.stamp.exists()


def move(checkout: Checkout) -> None:
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved checkout"))


def remove_python(checkout: Checkout) -> None:
    (checkout.folder / ".venv/bin/python").unlink()


def remove_command(checkout: Checkout) -> None:
    (checkout.folder / ".venv/bin/cnn-tuner").unlink()


@pytest.mark.parametrize("harm", [move, remove_python, remove_command])
def test_a_venv_that_no_longer_works_is_made_again(installed: Checkout, harm: Callable[[Checkout], None]) -> None:
    harm(installed)
    assert "Setting up .venv with Python 3.11.7" in installed.make("install").stdout
    assert "Nothing to be done" in installed.make("install").stdout


@pytest.mark.parametrize("given", ["argument", "environment"])
def test_another_python_that_is_asked_for_is_not_passed_over(installed: Checkout, given: str) -> None:
    installed.add_python("mine", "3.12.1")
    same = installed.make("install", "PYTHON=python3")
    assert "Nothing to be done" in same.stdout
    done = installed.make("install", "PYTHON=mine") if given == "argument" else installed.make("install", PYTHON="mine")
    assert "Setting up .venv with Python 3.12.1" in done.stdout


def test_a_refused_python_leaves_the_venv_as_it_is(installed: Checkout) -> None:
    installed.add_python("mine", "3.9.18")
    assert "mine is 3.9.18" in installed.make("install", "PYTHON=mine").stderr
    assert "Nothing to be done" in installed.make("install").stdout


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["tune", "ARGS=--data 'my folder' --epochs 3"], ".venv/bin/cnn-tuner tune --data 'my folder' --epochs 3"),
        (["fashion"], ".venv/bin/cnn-tuner tune --data fashion_mnist --budget 60m"),
        (["fashion", "DIR=a b"], '.venv/bin/cnn-tuner tune --data "idx:a b" --budget 60m'),
        (["tensorboard", "ARGS=--port 7000"], ".venv/bin/cnn-tuner tensorboard --port 7000"),
        (["export"], ".venv/bin/cnn-tuner export"),
        (["report", "RUN=my run"], '.venv/bin/cnn-tuner report "my run"'),
        (["explain", "ARGS=--space quick"], ".venv/bin/cnn-tuner explain --space quick"),
        (["explain", "RUN=my run", "IMAGE=a b.png"], '.venv/bin/cnn-tuner explain "my run" "a b.png"'),
        (["export", "RUN=my run", "ARGS=--json"], '.venv/bin/cnn-tuner export "my run" --json'),
        (
            ["test", "ARGS=-k words"],
            ".venv/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile -k words",
        ),
        (
            ["test-all"],
            '.venv/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile -m "not browser"',
        ),
    ],
)
def test_arguments_are_passed_on(installed: Checkout, arguments: list[str], command: str) -> None:
    assert " ".join(installed.make("-n", *arguments).stdout.split()) == command


def test_clean_keeps_the_runs(installed: Checkout) -> None:
    runs = installed.folder / "runs" / "mine" / "__pycache__"
    package = installed.folder / "cnn_tuner"
    for folder in (runs, package / "__pycache__", installed.folder / "build"):
        folder.mkdir(parents=True)
    assert installed.make("clean").returncode == 0
    assert runs.exists()
    assert package.exists()
    assert not (package / "__pycache__").exists()
    assert not (installed.folder / "build").exists()
    assert not (installed.folder / ".venv").exists()
