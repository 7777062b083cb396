"""A .tflite file from outside, looked at before LiteRT loads it: known operations, weights in the file, known sizes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from cnn_tuner.data.files import shown
from cnn_tuner.errors import VerificationError
from cnn_tuner.export.checks.container import refused

# What our own files hold, of every task and option (a test collects them), and a few of their kin.
# fmt: off
ALLOWED = frozenset((
    "ADD", "CAST", "CONV_2D", "DEQUANTIZE", "FULLY_CONNECTED", "LOGISTIC", "MAX_POOL_2D", "MUL", "PACK", "QUANTIZE",
    "RELU", "RESHAPE", "SHAPE", "SOFTMAX", "SQUEEZE", "STRIDED_SLICE", "SUB", "TRANSPOSE",
))
# fmt: on
NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
MAX_ELEMENTS = 2**28  # of one tensor, for one image


def check(path: Path) -> None:
    """Looks at a .tflite file.

    Raises:
        VerificationError: its weights lie in other files, it has an operation that our own files have not, or a tensor
            that is too large.
    """
    content = path.read_bytes()
    try:
        if not schema.Model.ModelBufferHasIdentifier(content, 0):
            raise ValueError("its first bytes are another format's")
        _check_model(path, schema.Model.GetRootAs(content))
    except VerificationError:
        raise
    except Exception as error:  # the offsets of a damaged file lead anywhere
        raise refused(path, "is no LiteRT file that can be read") from error


def _check_model(path: Path, model: Any) -> None:
    for group in range(model.ExternalBufferGroupsLength()):
        name = (model.ExternalBufferGroups(group).Name() or b"one without a name").decode(errors="replace")
        raise refused(path, f"its weights lie in another file: {shown(name)}")
    if model.ExternalBuffersLength() or any(model.Buffers(i).Offset() > 1 for i in range(model.BuffersLength())):
        raise refused(path, "its weights lie outside of its tables")
    for i in range(model.OperatorCodesLength()):
        _check_operation(path, model.OperatorCodes(i))
    if model.SubgraphsLength() != 1:
        raise refused(path, f"must hold one graph, holds {model.SubgraphsLength()}")
    graph = model.Subgraphs(0)
    for i in range(graph.TensorsLength()):
        shape = [graph.Tensors(i).Shape(axis) for axis in range(graph.Tensors(i).ShapeLength())]
        if min(shape, default=1) < 0 or math.prod(shape) > MAX_ELEMENTS:
            raise refused(path, f"states a tensor of shape {shape}; allowed are {MAX_ELEMENTS:,} elements")


def _check_operation(path: Path, code: Any) -> None:
    # Codes up to 127 stand in the older of two fields, and in both in files of today.
    name = NAMES.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "without a name")
    if code.CustomCode() is not None:
        name = f"CUSTOM {code.CustomCode().decode(errors='replace')}"
    if name not in ALLOWED:
        raise refused(path, f"operation {shown(name)} is not allowed in an export")
