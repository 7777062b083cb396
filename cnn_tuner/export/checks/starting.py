"""What a SavedModel does when it is loaded: it takes up its assets, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cnn_tuner.data.files import shown
from cnn_tuner.export.checks.container import refused

_START = "__saved_model_init_op"


def check_assets(path: Path, folder: Path, graph: Any) -> None:
    """Looks at the files that a graph names, and at what runs when it is loaded.

    Raises:
        VerificationError: an asset lies elsewhere, or loading would run something.
    """
    for asset in graph.asset_file_def:
        name = asset.filename
        if "/" in name or "\\" in name or name in ("", ".", "..") or not (folder / "assets" / name).is_file():
            raise refused(path, f"names the asset {shown(name)}, which is no file in its assets/")
    nodes = {node.name: node for node in graph.graph_def.node}
    started = [name for collection in graph.collection_def.values() for name in collection.node_list.value]
    if _START in graph.signature_def:
        started += [output.name for output in graph.signature_def[_START].outputs.values()]
    for name in started:
        if not _does_nothing(graph, nodes, nodes.get(name.partition(":")[0])):
            raise refused(path, f"loading it would run {shown(name)}")
    strange = sorted(set(graph.collection_def) - {"saved_model_main_op"})
    if strange:
        raise refused(path, f"holds the collection {shown(strange[0])}, by which loading could run or read something")


def _does_nothing(graph: Any, nodes: dict[str, Any], start: Any) -> bool:
    """Whether a node only waits for variables to be given the places of assets."""
    if start is None or start.op != "NoOp":
        return False
    inputs = [nodes.get(name.removeprefix("^")) for name in start.input]
    return all(node is not None and names_asset(graph, nodes, node) for node in inputs)


def names_asset(graph: Any, nodes: dict[str, Any], node: Any) -> bool:
    """Whether a node gives a variable the place of an asset."""
    places = {asset.tensor_info.name.partition(":")[0] for asset in graph.asset_file_def}
    if node.op != "AssignVariableOp" or len(node.input) != 2:
        return False
    variable, place = (nodes.get(name) for name in node.input)
    is_place = place is not None and place.op == "Placeholder" and place.name in places
    return is_place and variable is not None and variable.op == "VarHandleOp"
