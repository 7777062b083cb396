"""Who can reach what in a SavedModel: files by TensorFlow's own saver alone, decoding by one signature alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from cnn_tuner.data.files import shown
from cnn_tuner.export.checks.container import refused
from cnn_tuner.export.checks.operations import DECODING, FILES, SAVING
from cnn_tuner.export.checks.starting import names_asset

_PASSING = {"Identity", "Pack", "ShardedFilename", "StringJoin"}  # hand on the beginning of a file's name


def messages(message: Message) -> Iterator[Message]:
    """A protobuf message and all that is in it."""
    left = [message]
    while left:
        current = left.pop()
        yield current
        for _, value in current.ListFields():
            if isinstance(value, Message):
                left.append(value)
            elif not isinstance(value, (str, bytes, int, float)):
                values = value.values() if hasattr(value, "values") else value
                left += [each for each in values if isinstance(each, Message)]


def _node(name: str) -> str:
    """`^name`, `name:0` and `name:output:0` without what is around the name."""
    return name.removeprefix("^").partition(":")[0]


def called(node: Any) -> list[str]:
    """The functions that a node names."""
    lists = [f.name for value in node.attr.values() for f in value.list.func]
    return [value.func.name for value in node.attr.values() if value.WhichOneof("value") == "func"] + lists


def check_saver(path: Path, graph: Any) -> None:
    """Looks at who can reach an operation that reads or writes files or variables: the saver's two nodes, nobody else.

    Raises:
        VerificationError: a signature, an object or another node reaches one, or a file's name is not the caller's.
    """
    library, nodes = graph.graph_def.library.function, {node.name: node for node in graph.graph_def.node}
    touching = _reaching(library, SAVING)
    saver = {_node(graph.saver_def.save_tensor_name), _node(graph.saver_def.restore_op_name)} - {""}
    given = _node(graph.saver_def.filename_tensor_name)
    for node in nodes.values():
        if node.op in SAVING and not names_asset(graph, nodes, node):
            raise refused(path, f"operation {node.op} (node {shown(node.name)}) is allowed in TensorFlow's saver only")
        if touching.intersection(called(node)) and node.name not in saver:
            raise refused(path, f"node {shown(node.name)} reads or writes files; TensorFlow's saver alone may")
        if node.name in saver and (not node.input or _node(node.input[0]) != given or nodes[given].op != "Placeholder"):
            raise refused(path, "its saver does not take the file's name from who calls it")
        if node.name not in saver and any(_node(name) in saver for name in node.input):
            raise refused(path, f"node {shown(node.name)} runs the saver")
    for name, signature in graph.signature_def.items():
        if any(_node(output.name) in saver for output in signature.outputs.values()):
            raise refused(path, f"signature {shown(name)} runs the saver")
    for name in _functions_of_objects(graph):
        if name in touching:
            raise refused(path, f"function {shown(name)} reads or writes files; TensorFlow's saver alone may")
    for function in library:
        _check_files(path, function)


def _reaching(library: Any, operations: frozenset[str]) -> set[str]:
    """Functions that hold one of the operations, or call one that does."""
    found = {f.signature.name for f in library if any(node.op in operations for node in f.node_def)}
    while more := {
        f.signature.name
        for f in library
        if f.signature.name not in found and any(found.intersection(called(node)) for node in f.node_def)
    }:
        found |= more
    return found


def _functions_of_objects(graph: Any) -> set[str]:
    objects = graph.object_graph_def
    found = set(objects.concrete_functions)
    for node in objects.nodes:
        found |= {*node.function.concrete_functions, node.bare_concrete_function.concrete_function_name}
    return found


def _check_files(path: Path, function: Any) -> None:
    """The name of every file begins with what the function was given, and leads nowhere else."""
    nodes = {node.name: node for node in function.node_def}
    arguments = {argument.name for argument in function.signature.input_arg}
    files = [node for node in function.node_def if node.op in FILES]
    for node in files:
        name = _node(node.input[0]) if node.input else ""
        for _ in nodes:
            if name in arguments or name not in nodes or nodes[name].op not in _PASSING or not nodes[name].input:
                break
            name = _node(nodes[name].input[0])
        if name not in arguments:
            raise refused(path, f"node {shown(node.name)} ({node.op}) names a file of its own")
    if not files:
        return
    for node in function.node_def:
        if node.op == "Const" and any(b".." in text for text in node.attr["value"].tensor.string_val):
            raise refused(path, f"node {shown(node.name)} names a file outside of the export")


BYTES = "serving_bytes"


def check_decoding(path: Path, graph: Any) -> None:
    """Looks at who can reach an operation of decoding: the signature of image files, nobody else.

    Raises:
        VerificationError: another signature, an object or a node of the main graph reaches one.
    """
    nodes = {node.name: node for node in graph.graph_def.node}
    decoding = _reaching(graph.graph_def.library.function, DECODING)
    for node in nodes.values():
        if node.op in DECODING:
            raise refused(path, f"operation {node.op} (node {shown(node.name)}) is allowed in {BYTES} only")
    named = functions_of_signatures(graph, nodes)
    others = _functions_of_objects(graph) - named.get(BYTES, set())
    for name, functions in {**named, "of an object": others}.items():
        if name != BYTES and functions & decoding:
            raise refused(path, f"signature {shown(name)} decodes or loops, which is allowed in {BYTES} only")


def functions_of_signatures(graph: Any, nodes: dict[str, Any]) -> dict[str, set[str]]:
    """The functions that each signature calls first, by both ways in which signatures are written."""
    found: dict[str, set[str]] = {}
    for name, signature in graph.signature_def.items():
        for output in signature.outputs.values():
            node = nodes.get(_node(output.name))
            found.setdefault(name, set()).update(called(node) if node is not None else ())
    objects = graph.object_graph_def.nodes
    for holder in objects:
        if holder.user_object.identifier == "signature_map":
            for child in holder.children:
                node = objects[child.node_id]
                names = {*node.function.concrete_functions, node.bare_concrete_function.concrete_function_name}
                found.setdefault(child.local_name, set()).update(names - {""})
    return found
