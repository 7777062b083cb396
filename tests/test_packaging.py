"""The list of packages holds what the package asks for, on every Python, and a wheel holds the package and no more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = ["3.10.13", "3.11.7", "3.12.1", "3.13.0"]


# The lists of packages, and the extras that each has: see `make lock`.
TESTED = ("dev", "litert", "onnx", "parquet", "serve")
LISTS = {
    "requirements.txt": TESTED,
    "requirements-docs.txt": (*TESTED, "docs"),
    "requirements-cluster.txt": (*TESTED, "ray"),
    "requirements-sources.txt": (*TESTED, "hf", "tfds"),
}


def direct_dependencies(extras: Sequence[str]) -> list[Requirement]:
    """What pyproject.toml asks for, with these extras."""
    project = PYPROJECT["project"]
    asked = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in project["dependencies"] + asked]


def pinned_versions(environment: dict[str, str], file: str = "requirements.txt") -> dict[str, Version]:
    """name -> version in a list for one Python and platform; asserts that a name comes once."""
    pins: dict[str, Version] = {}
    for line in (ROOT / file).read_text().splitlines():
        text = line.split("#")[0].strip()
        if not text:
            continue
        requirement = Requirement(text)
        [specifier] = requirement.specifier
        assert specifier.operator == "==", f"{file}: {line}: must be one exact version"
        name = canonicalize_name(requirement.name)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert name not in pins, f"{file}: {name}: two versions for {environment}"
            pins[name] = Version(specifier.version)
    return pins


def wanted(environment: dict[str, str], extras: Sequence[str] = TESTED) -> dict[str, Requirement]:
    """name -> direct dependency on one Python and platform."""
    return {
        canonicalize_name(requirement.name): requirement
        for requirement in direct_dependencies(extras)
        if requirement.marker is None or requirement.marker.evaluate(environment)
    }


@pytest.mark.parametrize("platform", ["linux", "darwin"])
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("file", LISTS)
def test_every_direct_dependency_is_pinned_within_its_range(file: str, python: str, platform: str) -> None:
    environment = {"python_full_version": python, "python_version": python.rpartition(".")[0], "sys_platform": platform}
    pins = pinned_versions(environment, file)
    for name, requirement in wanted(environment, LISTS[file]).items():
        assert name in pins, f"{file}: {name}: missing on Python {python}; run make lock"
        assert pins[name] in requirement.specifier, f"{file}: {requirement}: got {pins[name]}; run make lock"
    # What is installed on top of requirements.txt changes nothing of it.
    assert pinned_versions(environment).items() <= pins.items(), f"{file}: other versions; run make lock"


def test_the_tested_pythons_are_the_supported_ones() -> None:
    text = (ROOT / "requirements.txt").read_text()
    assert f"# Tested on Linux x86-64 with Python {', '.join(PYTHONS[:-1])} and {PYTHONS[-1]}.\n" in text
    assert PYPROJECT["project"]["requires-python"] == ">=3.10,<3.14"


def test_what_is_installed_is_what_was_pinned() -> None:
    environment = {key: str(value) for key, value in default_environment().items()}
    pins = pinned_versions(environment)
    names = sorted(wanted(environment))
    installed = {name: metadata.version(name) for name in names}
    assert installed == {name: str(pins[name]) for name in names}


def test_every_folder_with_code_is_packaged() -> None:
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "cnn_tuner").rglob("*.py")}
    packages = set(PYPROJECT["tool"]["setuptools"]["packages"])
    assert packages == {".".join(folder.parts) for folder in folders} | {"cnn_tuner.search_spaces"}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the wheel and the sdist."""
    # From a copy: setuptools leaves a folder build/ behind, and would pack what an earlier build left there.
    folder = tmp_path_factory.mktemp("built")
    for name in ("cnn_tuner", "search_spaces", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, folder / "source")
    for kind in ("wheel", "sdist"):
        build = f"from setuptools import build_meta; build_meta.build_{kind}({str(folder)!r})"
        subprocess.run([sys.executable, "-c", build], cwd=folder / "source", check=True, capture_output=True)
    return folder


@pytest.mark.slow
def test_a_wheel_holds_the_package_and_the_search_spaces_only(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    version = metadata.version("cnn-tuner")
    assert wheel.name == f"cnn_tuner-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        commands = archive.read(f"cnn_tuner-{version}.dist-info/entry_points.txt").decode()
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "cnn_tuner").rglob("*.py")}
    spaces = {f"cnn_tuner/search_spaces/{path.name}" for path in (ROOT / "search_spaces").glob("*.yaml")}
    pages = {f"cnn_tuner/report/pages/{path.name}" for path in (ROOT / "cnn_tuner" / "report" / "pages").iterdir()}
    assert spaces
    typed = {"cnn_tuner/py.typed"}
    assert {name for name in names if ".dist-info/" not in name} == modules | spaces | pages | typed
    assert f"cnn_tuner-{version}.dist-info/licenses/LICENSE" in names
    assert commands.split("\n")[:2] == ["[console_scripts]", "cnn-tuner = cnn_tuner.cli:main"]


@pytest.mark.slow
def test_a_wheel_works_where_there_is_nothing_else(built: Path, tmp_path: Path) -> None:
    """The packages that it needs are those of this environment, but for the package itself."""
    [wheel] = built.glob("*.whl")
    pip_install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run([*pip_install, "--no-deps", "--target", tmp_path / "site", wheel], check=True)
    start = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); from cnn_tuner.cli import main; main()"
    worker_path = {"PYTHONPATH": str(tmp_path / "site")}

    def said(*arguments: str) -> str:
        command = [sys.executable, "-c", start, *arguments]
        own = os.environ | worker_path | {"HOME": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, env=own, cwd=tmp_path, timeout=400)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = [sys.executable, "-c", "import cnn_tuner; print(cnn_tuner.__file__)"]
    place = subprocess.run(where, capture_output=True, text=True, env=os.environ | worker_path, cwd=tmp_path).stdout
    assert place.startswith(str(tmp_path))
    assert said("--version") == f"cnn-tuner {metadata.version('cnn-tuner')}\n"
    assert "seven_steps" in said("spaces")
    one = ("--max-trials=1", "--max-epochs=1", "--final-epochs=1", "--final-seeds=1", "--no-refit", "--workers=1")
    assert "verified" in said("tune", *one)
    assert (tmp_path / "runs" / "digits-quick-1" / "report.html").stat().st_size > 100_000, "with its charts"


@pytest.mark.slow
def test_an_sdist_builds_the_same(built: Path, tmp_path: Path) -> None:
    [sdist], [wheel] = built.glob("*.tar.gz"), built.glob("*.whl")
    pip_wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run([*pip_wheel, "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, sdist], check=True)
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(tmp_path / wheel.name) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


def test_a_citation_names_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == metadata.version("cnn-tuner")
    assert cited["license"] == PYPROJECT["project"]["license"]


def test_a_container_has_the_files_that_it_copies_and_no_rights() -> None:
    lines = (ROOT / "Containerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert {"requirements.txt", "cnn_tuner", "search_spaces", "pyproject.toml"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    assert lines.index("USER tuner") < lines.index('ENTRYPOINT ["cnn-tuner"]')
