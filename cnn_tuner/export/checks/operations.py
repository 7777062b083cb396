"""The operations that a graph from outside may hold: numbers in, numbers out, no files, no Python.

They are what our own exports hold, of every task and option (a test collects them), and a few of their kin. One belongs
here only if it cannot reach anything but its inputs, and cannot make much more of them than it was given.
"""

from __future__ import annotations

# fmt: off
ALLOWED = frozenset((
    "Add", "AddV2", "All", "Any", "ArgMax", "BatchMatMulV2", "BiasAdd", "Cast", "ClipByValue", "ConcatV2", "Const",
    "Conv2D", "Equal", "ExpandDims", "Floor", "GatherV2", "Greater", "GreaterEqual", "Identity", "IdentityN",
    "Less", "LessEqual", "Log", "Log1p", "LogicalAnd", "LogicalNot", "LogicalOr", "MatMul", "Max", "MaxPool",
    "Maximum", "Mean", "Min", "Minimum", "Mul", "Neg", "NoOp", "NotEqual", "Pack", "PartitionedCall", "Placeholder",
    "Prod", "ReadVariableOp", "RealDiv", "Relu", "Reshape", "ResizeBilinear", "Round", "ScaleAndTranslate",
    "Select", "SelectV2", "Shape", "Sigmoid", "Size", "Slice", "Softmax", "Squeeze", "StatefulPartitionedCall",
    "StopGradient", "StridedSlice", "Sub", "Sum", "Transpose", "Unpack", "VarHandleOp", "VarIsInitializedOp",
    "ZerosLike",
))
# Only in what the signature `serving_bytes` calls: it decodes and resizes files of images one by one. A loop could go
# on for ever and a range could be long, so that of somebody else's export only the readers of `verify` call it: each is
# a process that is killed after some minutes, and ended first when memory runs out.
DECODING = frozenset((
    "Abs", "Assert", "DecodeJpeg", "DecodePng", "DecodeRaw", "Einsum", "EnsureShape", "ExtractJpegShape", "Fill",
    "FloorDiv", "If", "Pad", "Range", "RightShift", "StatelessIf", "StatelessWhile", "StringLength", "Substr",
    "TensorListFromTensor", "TensorListGetItem", "TensorListReserve", "TensorListSetItem", "TensorListStack", "While",
))
# Only in the two functions with which TensorFlow itself saves and restores variables.
SAVING = frozenset((
    "AssignVariableOp", "DisableCopyOnRead", "MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename",
    "StaticRegexFullMatch", "StringJoin",
))
# fmt: on
CALLS = frozenset({"If", "PartitionedCall", "StatefulPartitionedCall", "StatelessIf", "StatelessWhile", "While"})
RESIZES = frozenset({"ResizeBilinear", "ScaleAndTranslate"})  # their second input is the new (height, width)
FILES = frozenset({"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"})  # their first input is a file
