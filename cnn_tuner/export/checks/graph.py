"""The graph of a SavedModel, looked at before TensorFlow loads it: loading alone can run what it holds.

Every node is looked at, reachable or not, in the main graph and in the function library. What a graph may hold is what
our own exports hold: `cnn_tuner.export.checks.operations`.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError, Message
from tensorflow.core.protobuf import saved_model_pb2

from cnn_tuner.data.files import shown
from cnn_tuner.export.checks.checkpoint import check_variables, size_of
from cnn_tuner.export.checks.container import refused
from cnn_tuner.export.checks.operations import ALLOWED, CALLS, DECODING, SAVING
from cnn_tuner.export.checks.reach import called, check_decoding, check_saver, messages
from cnn_tuner.export.checks.shapes import check_shapes
from cnn_tuner.export.checks.starting import check_assets

MAX_ELEMENTS = 2**30  # of any shape that a graph states
MAX_OUTPUTS = 4096  # of one operation
MAX_CALLED = 100_000  # nodes that one call may run, functions within functions counted
MAX_DEPTH = 32  # of functions that call functions
SLACK_BYTES = 2**20  # of constants whose one value stands for many, as zeros do
_DEVICE = re.compile(r"(/job:localhost)?(/replica:0)?(/task:0)?(/device:(CPU|GPU):(\d+|\*))?")
_OBJECTS = {"user_object", "function", "bare_concrete_function", "variable", "constant", "asset"}
_IDENTIFIERS = {
    "_generic_user_object",
    "signature_map",
    "trackable_list_wrapper",
    "trackable_tuple_wrapper",
    "trackable_dict_wrapper",
}
_REGISTERED = {"", "tf.TrackableConstant"}


def check_graph(folder: Path) -> None:
    """Looks at saved_model.pb and variables.index of an export.

    Raises:
        VerificationError: an operation that is not allowed, a file outside, or a shape larger than what is stored.
    """
    path = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel()
    try:
        content = path.read_bytes()
        model.ParseFromString(content)
    except (OSError, DecodeError) as error:
        raise refused(path, "is no SavedModel that can be read") from error
    if len(model.meta_graphs) != 1:
        raise refused(path, f"must hold one graph, holds {len(model.meta_graphs)}")
    graph = model.meta_graphs[0]
    if not graph.HasField("object_graph_def"):
        raise refused(path, "names no objects: it is of a TensorFlow before 2.0, which runs it in another way")
    _check_everywhere(path, graph, len(content))
    check_assets(path, folder, graph)
    _check_functions(path, graph)
    _check_objects(path, graph)
    check_decoding(path, graph)
    check_saver(path, graph)
    check_variables(path, folder, graph)
    check_shapes(path, graph)


def _check_everywhere(path: Path, graph: Message, file_bytes: int) -> None:
    """What holds wherever it stands: nodes, constants, shapes, foreign types."""
    constants = 0
    for message in messages(graph):
        match message.DESCRIPTOR.full_name:
            case "tensorflow.NodeDef":
                _check_node(path, message)
            case "tensorflow.TensorProto":
                constants += size_of(path, message.tensor_shape, message.dtype)
                if constants > file_bytes + SLACK_BYTES:
                    raise refused(path, f"its constants would take {constants:,} bytes, the file has {file_bytes:,}")
            case "tensorflow.TensorShapeProto":
                _check_shape(path, message)
            case "google.protobuf.Any" | "tensorflow.FuncGraph":
                raise refused(path, "holds a message of a foreign type")
            case "tensorflow.TypeSpecProto":
                if message.type_spec_class_name and message.type_spec_class_name != "TensorSpec":
                    raise refused(path, f"holds a foreign type: {shown(message.type_spec_class_name)}")


def _check_node(path: Path, node: Any) -> None:
    if node.op not in ALLOWED | SAVING | DECODING:
        raise refused(path, f"operation {shown(node.op)} (node {shown(node.name)}) is not allowed in an export")
    if _DEVICE.fullmatch(node.device) is None:
        raise refused(path, f"node {shown(node.name)} is to run on {shown(node.device)}, not on this machine")
    if any(node.attr[key].i > MAX_OUTPUTS for key in ("num", "num_split") if key in node.attr):
        raise refused(path, f"node {shown(node.name)} ({node.op}) has over {MAX_OUTPUTS:,} outputs")
    if node.op not in CALLS and any(value.WhichOneof("value") == "func" for value in node.attr.values()):
        raise refused(path, f"node {shown(node.name)} ({node.op}) calls a function, which it must not")


def _check_shape(path: Path, shape: Any) -> None:
    sizes = [dim.size for dim in shape.dim]
    if min(sizes, default=0) < -1 or math.prod(size for size in sizes if size > 0) > MAX_ELEMENTS:
        raise refused(path, f"states a tensor of shape {sizes}; allowed are {MAX_ELEMENTS:,} elements")


def _check_functions(path: Path, graph: Any) -> None:
    """Functions end: none calls itself, calls within calls stay few."""
    library = graph.graph_def.library
    if library.gradient or library.registered_gradients:
        raise refused(path, "holds gradients of its own, which an export needs none of")
    bodies = {function.signature.name: function.node_def for function in library.function}
    if len(bodies) != len(library.function) or set(bodies) & (ALLOWED | SAVING | DECODING):
        raise refused(path, "defines a function twice, or one named as an operation")
    sizes: dict[str, int] = {}

    def size(name: str, depth: int) -> int:
        if name not in bodies:
            raise refused(path, f"calls the function {shown(name)}, which it does not hold")
        if depth > MAX_DEPTH:
            raise refused(path, f"function {shown(name)} calls itself, or calls are nested over {MAX_DEPTH} deep")
        if name not in sizes:
            inner = sum(size(each, depth + 1) for node in bodies[name] for each in called(node))
            sizes[name] = len(bodies[name]) + inner
        if sizes[name] > MAX_CALLED:
            raise refused(path, f"function {shown(name)} would run over {MAX_CALLED:,} operations")
        return sizes[name]

    for body in (graph.graph_def.node, *bodies.values()):
        for node in body:
            for name in called(node):
                size(name, 0)


def _check_objects(path: Path, graph: Any) -> None:
    """What Python makes of the file: plain objects, functions, variables and constants; no class of anybody."""
    names = {function.signature.name for function in graph.graph_def.library.function}
    objects = graph.object_graph_def.nodes
    for node in objects:
        if any(not 0 <= child.node_id < len(objects) for child in node.children):
            raise refused(path, "names an object that it does not hold")
        kind = node.WhichOneof("kind")
        if kind not in _OBJECTS and not (kind is None and not node.children):
            raise refused(path, f"holds an object of kind {kind}, which could run or read something while it is loaded")
        if kind == "user_object" and node.user_object.identifier not in _IDENTIFIERS:
            raise refused(path, f"holds an object of the foreign class {shown(node.user_object.identifier)}")
        if node.registered_name not in _REGISTERED or node.registered_saver or node.saveable_objects:
            raise refused(path, f"holds an object of the foreign class {shown(node.registered_name or 'with a saver')}")
        if kind == "constant" and _constant(graph, node.constant.operation) is None:
            raise refused(path, f"names the constant {shown(node.constant.operation)}, which it does not hold")
    for name in graph.object_graph_def.concrete_functions:
        if name not in names:
            raise refused(path, f"names the function {shown(name)}, which it does not hold")


def _constant(graph: Any, name: str) -> Any:
    return next((node for node in graph.graph_def.node if node.name == name and node.op == "Const"), None)
