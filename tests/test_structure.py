"""The rules of the code: rooms import downwards, heavy packages stay where they belong, only commands print."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "cnn_tuner"
# From the top floor to the bottom: a room imports itself and the rooms below it. Without a folder: __main__.py, cli.py,
# errors.py.
FLOORS = (
    "__main__",
    "cli",
    "commands",
    "api",
    "terminal",
    "search",
    "logs",
    "explain",
    "predict",
    "report",
    "training",
    "export",
    "export.formats",
    "export.graph",
    "export.checks",
    "analysis",
    "audit",
    "baselines",
    "oracles",
    "executors",
    "models",
    "server",
    "runs",
    "data",
    "spaces",
    "metrics",
    "errors",
)
# Which rooms may import what is heavy, and the single modules of other rooms that may.
HEAVY = {
    "tensorflow": {"models", "training", "export", "explain", "logs", "api.loading"},
    "keras": {"models", "training", "export", "explain", "logs", "data.keras_datasets"},
    "keras_tuner": {"oracles", "spaces.hyperparameters", "models.custom", "models.exploring"},
    "optuna": {"oracles", "analysis.importance"},
    "rich": {"cli", "commands", "api", "terminal"},
    "tf2onnx": {"export.formats.onnx_file"},
    "onnxruntime": {"export.reader"},
    "ai_edge_litert": {"export.checks.litert", "export.reader"},
}
MOST_LINES = 400
SEEDED = ("np.random.default_rng", "np.random.SeedSequence")
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
}


def room(module: str) -> str:
    """The room of a module; a module without a folder is one of its own."""
    return module.rpartition(".")[0] or module


def floor(module: str) -> int:
    return FLOORS.index(room(module))


def path_of(module: str) -> Path:
    return PACKAGE / f"{module.replace('.', '/')}.py"


def is_in(module: str, places) -> bool:
    return any(module == place or module.startswith(place + ".") for place in places)


def is_in_any(package: str, names) -> bool:
    return any(is_in(name, [package]) for name in names)


@cache
def imports(module: str) -> set[str]:
    """Full names that a module imports anywhere, apart from those for type checkers only."""
    tree = MODULES[module]
    only_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in only_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@cache
def own_imports(module: str) -> set[str]:
    """The modules of this package that a module imports."""
    names = {name.removeprefix("cnn_tuner.") for name in imports(module) if name.startswith("cnn_tuner.")}
    return {known for known in MODULES for name in names if name == known or name.startswith(known + ".")}


def test_every_folder_has_its_floor_and_says_what_it_is_for():
    folders = {".".join(path.parent.relative_to(PACKAGE).parts) for path in PACKAGE.rglob("*.py")} - {""}
    assert folders | {"__main__", "cli", "errors"} == set(FLOORS)
    for folder in folders:
        tree = ast.parse((PACKAGE / folder.replace(".", "/") / "__init__.py").read_text())
        assert len(tree.body) == 1, f"{folder}: an __init__.py holds a docstring and re-exports nothing"
        purpose, rest = (ast.get_docstring(tree) or "").split("\n\n")
        assert purpose.endswith(".") and "\n" not in purpose
        assert 1 <= len(rest.splitlines()) <= 2


def test_rooms_import_downwards():
    upwards = {(module, name) for module in MODULES for name in own_imports(module) if floor(name) < floor(module)}
    assert not upwards


def test_a_name_does_not_repeat_its_folders():
    for module in MODULES:
        *folders, name = module.split(".")
        repeated = {form for folder in folders for form in (folder, folder.removesuffix("s"))}
        assert not repeated & set(name.split("_")), module


def test_a_file_is_read_in_one_go():
    lines = {module: len(path_of(module).read_text().splitlines()) for module in MODULES}
    assert not {module: count for module, count in lines.items() if count > MOST_LINES}


def test_no_import_goes_in_a_circle():
    left = {module: own_imports(module) - {module} for module in MODULES}
    while free := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in free:
            del left[module]
    assert not left


def test_nothing_is_imported_through_its_packages_init():
    for module in MODULES:
        for name in imports(module):
            package, _, attribute = name.removeprefix("cnn_tuner.").rpartition(".")
            if name.startswith("cnn_tuner.") and package in FLOORS and package not in MODULES:
                assert f"{package}.{attribute}" in MODULES, module


@pytest.mark.parametrize("heavy", HEAVY)
def test_heavy_packages_stay_where_they_belong(heavy):
    using = {module for module in MODULES if is_in_any(heavy, imports(module))}
    assert using, "or it is no longer needed"
    assert not {module for module in using if not is_in(module, HEAVY[heavy])}


# Where processes begin: the commands, and the worker that a driver or a fork server starts, which says nothing to
# anybody but has a GPU to choose before TensorFlow looks for it, and has to end at once when its driver is gone. The
# reader of an export is a program of its own, which nothing imports. Ray reads what it is to be from the environment
# when it is loaded. A Python program comes in by the API: it may name the cache in the environment, and has Keras
# choose its backend there.
ENTRIES = (
    "cli",
    "commands",
    "api.words",
    "api.loading",
    "executors.connecting",
    "executors.forkserver",
    "executors.worker",
    "export.reader",
)


def calls(tree: ast.AST) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def test_only_entries_print_exit_and_use_the_environment():
    for module, tree in MODULES.items():
        if not is_in(module, ENTRIES):
            assert not calls(tree) & {"print", "exit", "sys.exit", "os._exit"}, module
            assert "os.environ" not in {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}, module


def test_no_global_random_generator():
    # A person's own build draws from the global generators, which are seeded for it and put back.
    for module in MODULES.keys() - {"models.custom"}:
        for call in calls(MODULES[module]):
            assert call not in {"keras.utils.set_random_seed", "tf.random.set_seed"}, module
            assert not call.startswith("random.") or call == "random.Random", module
            assert not call.startswith("np.random.") or call.startswith(SEEDED), module
