"""The variables of a SavedModel: no more of them than its files hold, known before any memory is taken."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import types_pb2

from cnn_tuner.data.files import one_line
from cnn_tuner.export.checks.container import refused

_PREFIX = "variables"
_BYTES = {
    **dict.fromkeys(("DT_BOOL", "DT_INT8", "DT_UINT8"), 1),
    **dict.fromkeys(("DT_BFLOAT16", "DT_HALF", "DT_INT16", "DT_UINT16"), 2),
    **dict.fromkeys(("DT_FLOAT", "DT_INT32", "DT_UINT32"), 4),
    **dict.fromkeys(("DT_DOUBLE", "DT_INT64", "DT_UINT64"), 8),
    "DT_STRING": 24,  # of an empty one in memory
}


def size_of(path: Path, shape: Any, dtype: int) -> int:
    """The bytes of a tensor.

    Raises:
        VerificationError: its shape is not known, or it holds neither numbers nor text.
    """
    sizes = [dim.size for dim in shape.dim]
    name = types_pb2.DataType.Name(dtype) if dtype in types_pb2.DataType.values() else str(dtype)
    if shape.unknown_rank or min(sizes, default=0) < 0:
        raise refused(path, "holds a constant or variable of unknown shape")
    if name not in _BYTES:
        raise refused(path, f"holds a constant or variable of type {name}; allowed are numbers and text")
    return math.prod(sizes) * _BYTES[name]


def check_variables(path: Path, folder: Path, graph: Any) -> None:
    """Compares the shapes that the graph and variables.index state with the bytes that are stored.

    Raises:
        VerificationError: a shape is larger than what is stored, or the index cannot be read.
    """
    stored = sum(file.stat().st_size for file in (folder / _PREFIX).glob("variables.data-*"))
    handles = [node for node in graph.graph_def.node if node.op == "VarHandleOp"]
    handles += [n for f in graph.graph_def.library.function for n in f.node_def if n.op == "VarHandleOp"]
    variables = [each.variable for each in graph.object_graph_def.nodes if each.WhichOneof("kind") == "variable"]
    for stated in (
        sum(size_of(path, node.attr["shape"].shape, node.attr["dtype"].type) for node in handles),
        sum(size_of(path, variable.shape, variable.dtype) for variable in variables),
        _of_index(folder / _PREFIX / "variables.index"),
    ):
        if stated > stored:
            raise refused(path, f"its variables would take {stated:,} bytes, but its files hold {stored:,}")


def _of_index(index: Path) -> int:
    """The bytes of all tensors that the index names."""
    if not index.is_file():
        return 0
    try:
        reader = tf.train.load_checkpoint(str(index.with_suffix("")))
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except Exception as error:  # TensorFlow raises many kinds on a damaged index
        raise refused(index, f"cannot be read: {one_line(error)}") from error
    return sum(math.prod(shape) * max(dtypes[name].size, 1) for name, shape in shapes.items())
