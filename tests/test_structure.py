"""The rules of the code: imports go down, heavy packages stay where they belong, only commands print."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "cnn_tuner"
# From the top to the bottom: a module may import from its own level and from those below it.
LEVELS = (
    ("cli",),
    ("commands.*",),
    ("live_view",),
    ("plan_table", "pareto_table", "reporters", "lessons"),
    ("terminal", "importance_table"),
    ("planning",),
    ("resuming",),
    ("tuning",),
    ("session",),
    ("rebuilding",),
    ("best_logs",),
    ("winner", "measuring"),
    ("evaluating", "predicting", "server.*"),
    ("final_training",),
    ("search",),
    ("forecast",),
    ("jobs",),
    ("executors.*", "observer"),
    ("training", "export.*"),
    ("hypermodel", "oracles.*"),
    ("explain_page",),
    ("explain_numbers", "explain_pictures"),
    ("explain",),
    ("explain_words", "feature_maps"),
    ("explanation",),
    ("model", "hyperparameters", "tensorboard", "steps", "optimizers", "augmentation", "latency", "training_state"),
    ("history", "refining", "report", "selection"),
    ("model_card", "comparison_charts", "evaluation_charts"),
    ("sheets",),
    ("charts", "findings"),
    ("importance",),
    ("finalists", "budget", "pareto", "texts", "serving", "answers"),
    ("architecture", "store", "machine", "checkpoints", "data.*", "scores", "intervals", "evaluation"),
    ("config", "folders", "page"),
    ("records", "recipe"),
    ("space",),
    ("space_file", "tasks"),
    ("errors",),
)
HEAVY = {
    "tensorflow": {"machine", "training", "export.*", "tensorboard", "latency", "commands.quiet", "best_logs"},
    "keras": {
        "steps",
        "optimizers",
        "augmentation",
        "latency",
        "model",
        "hypermodel",
        "training",
        "export.*",
        "winner",
        "best_logs",
        "explain",
        "lessons",
        "data.keras_datasets",
    },
    "keras_tuner": {"hypermodel", "hyperparameters", "oracles.*"},
    "optuna": {"importance", "oracles.*"},
    "tf2onnx": {"export.onnx_file"},
    "onnxruntime": {"export.reader"},
    "ai_edge_litert": {"export.litert_check", "export.reader"},
}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
}


def matches(module: str, patterns) -> bool:
    return any(module == p or (p.endswith(".*") and module.startswith(p[:-1])) for p in patterns)


def level(module: str) -> int:
    return next(i for i, patterns in enumerate(LEVELS) if matches(module, patterns))


def imports(tree: ast.AST, is_checked=lambda node: True) -> set[str]:
    """Full names that a module imports anywhere, apart from those for type checkers only."""
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


def own_imports(module: str) -> set[str]:
    """The modules of this package that a module imports."""
    names = {name.removeprefix("cnn_tuner.") for name in imports(MODULES[module]) if name.startswith("cnn_tuner.")}
    return {known for known in MODULES for name in names if name == known or name.startswith(known + ".")}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    above = {name for name in own_imports(module) if level(name) < level(module)}
    assert not above


def test_no_import_goes_in_a_circle():
    left = {module: own_imports(module) - {module} for module in MODULES}
    while free := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in free:
            del left[module]
    assert not left


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_imported_through_its_packages_init(module):
    packages = {f"cnn_tuner.{path.parent.name}" for path in PACKAGE.glob("*/__init__.py")}
    for name in imports(MODULES[module]):
        package, _, attribute = name.rpartition(".")
        if package in packages:
            assert f"{package.removeprefix('cnn_tuner.')}.{attribute}" in MODULES


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("heavy", HEAVY)
def test_heavy_packages_stay_where_they_belong(module, heavy):
    uses = any(name == heavy or name.startswith(heavy + ".") for name in imports(MODULES[module]))
    assert not uses or matches(module, HEAVY[heavy])


# Where processes begin: the commands, and the worker that a driver starts, which says nothing to anybody but has a GPU
# to choose before TensorFlow looks for it, and has to end at once when its driver is gone. The reader of an export is a
# program of its own, which nothing imports.
ENTRIES = ("cli", "commands.*", "executors.worker", "export.reader")


def calls(tree: ast.AST) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("module", [m for m in MODULES if not matches(m, ENTRIES)])
def test_only_entries_print_exit_and_use_the_environment(module):
    assert not calls(MODULES[module]) & {"print", "exit", "sys.exit", "os._exit"}
    assert "os.environ" not in {ast.unparse(n) for n in ast.walk(MODULES[module]) if isinstance(n, ast.Attribute)}


@pytest.mark.parametrize("module", MODULES)
def test_no_global_random_generator(module):
    for call in calls(MODULES[module]):
        assert call not in {"keras.utils.set_random_seed", "tf.random.set_seed"}
        assert not call.startswith("random.") or call == "random.Random"
        assert not call.startswith("np.random.") or call.startswith(("np.random.default_rng", "np.random.SeedSequence"))
