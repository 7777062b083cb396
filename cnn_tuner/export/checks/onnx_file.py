"""An ONNX file from outside, looked at before ONNX Runtime loads it: known operations, and all weights in the file."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from cnn_tuner.data.files import shown
from cnn_tuner.export.checks.container import refused
from cnn_tuner.export.checks.graph import messages

DOMAINS = ("", "ai.onnx")  # ONNX's own operations; those of others are libraries of code
# What our own files hold, of every task and option (a test collects them), and a few of their kin: none loops, and none
# makes much more of its inputs than it was given.
# fmt: off
ALLOWED = frozenset((
    "Add", "Cast", "Concat", "Constant", "Conv", "Div", "Flatten", "Gather", "Gemm", "Identity", "MatMul", "MaxPool",
    "Mul", "Relu", "Reshape", "Shape", "Sigmoid", "Slice", "Softmax", "Squeeze", "Sub", "Transpose", "Unsqueeze",
))
# fmt: on


def check(path: Path) -> None:
    """Looks at a .onnx file.

    Raises:
        VerificationError: its weights lie in other files, or it has an operation that our own files have not.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise refused(path, "is no ONNX file that can be read") from error
    for message in messages(model):
        match message.DESCRIPTOR.full_name:
            case "onnx.TensorProto":
                if found := _outside(message):
                    raise refused(path, found)
            case "onnx.NodeProto":
                name = f"{message.domain}.{message.op_type}" if message.domain else message.op_type
                if message.domain not in DOMAINS or message.op_type not in ALLOWED:
                    raise refused(path, f"operation {shown(name)} is not allowed in an export")
            case "onnx.FunctionProto" | "onnx.TrainingInfoProto":
                raise refused(path, "holds functions or training of its own, which an export needs none of")


def _outside(tensor: onnx.TensorProto) -> str:
    """What is wrong with a tensor whose numbers are not in the file; empty when they are."""
    if not tensor.external_data and tensor.data_location == onnx.TensorProto.DEFAULT:
        return ""
    places = [entry.value for entry in tensor.external_data if entry.key == "location"]
    return f"its weights lie in another file: {shown(places[0] if places else 'one without a name')}"
