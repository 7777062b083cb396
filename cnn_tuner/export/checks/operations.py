"""The operations that a graph from outside may hold: numbers in, numbers out, no files, no Python.

They are what our own exports hold, of every task and option (a test collects them), what Keras's own layers are made
of, and a few of their kin. One belongs here only if it cannot reach anything but its inputs, and cannot make much more
of them than it was given: where it could, `cnn_tuner.export.checks.shapes` knows by how much.
"""

from __future__ import annotations

# fmt: off
ALLOWED = frozenset((
    "Abs", "Add", "AddN", "AddV2", "All", "Any", "ArgMax", "AvgPool", "BatchMatMulV2", "BatchToSpaceND", "BiasAdd",
    "Cast", "ClipByValue", "ConcatV2", "Const", "Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative", "Elu",
    "Equal", "Erf", "Erfc", "Exp", "ExpandDims", "Floor", "FusedBatchNormV3", "GatherV2", "Greater", "GreaterEqual",
    "Identity", "IdentityN", "LeakyRelu", "Less", "LessEqual", "Log", "Log1p", "LogicalAnd", "LogicalNot",
    "LogicalOr", "MatMul", "Max", "MaxPool", "Maximum", "Mean", "Min", "Minimum", "MirrorPad", "Mul", "Neg", "NoOp",
    "NotEqual", "Pack", "Pad", "PadV2", "PartitionedCall", "Placeholder", "Pow", "Prod", "ReadVariableOp", "RealDiv",
    "Reciprocal", "Relu", "Relu6", "Reshape", "ResizeBilinear", "ResizeNearestNeighbor", "Round", "Rsqrt",
    "ScaleAndTranslate", "Select", "SelectV2", "Selu", "Shape", "Sigmoid", "Sign", "Size", "Slice", "Softmax",
    "Softplus", "Softsign", "SpaceToBatchND", "Split", "SplitV", "Sqrt", "Square", "SquaredDifference", "Squeeze",
    "StatefulPartitionedCall", "StopGradient", "StridedSlice", "Sub", "Sum", "Tanh", "Tile", "Transpose", "Unpack",
    "VarHandleOp", "VarIsInitializedOp", "ZerosLike",
))
# Only in what the signature `serving_bytes` calls: it decodes and resizes files of images one by one. A loop could go
# on for ever and a range could be long, so that of somebody else's export only the readers of `verify` call it: each is
# a process that is killed after some minutes, and ended first when memory runs out.
DECODING = frozenset((
    "Assert", "DecodeJpeg", "DecodePng", "DecodeRaw", "Einsum", "EnsureShape", "ExtractJpegShape", "Fill", "FloorDiv",
    "If", "Range", "RightShift", "StatelessIf", "StatelessWhile", "StringLength", "Substr", "TensorListFromTensor",
    "TensorListGetItem", "TensorListReserve", "TensorListSetItem", "TensorListStack", "While",
))
# Only in the two functions with which TensorFlow itself saves and restores variables.
SAVING = frozenset((
    "AssignVariableOp", "DisableCopyOnRead", "MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename",
    "StaticRegexFullMatch", "StringJoin",
))
# fmt: on
CALLS = frozenset({"If", "PartitionedCall", "StatefulPartitionedCall", "StatelessIf", "StatelessWhile", "While"})
# The inputs that say where a tensor is cut, padded, split or summed up. They must not depend on the images, nor on how
# many they are.
STEERED = {
    **dict.fromkeys(("All", "Any", "ArgMax", "Max", "Mean", "Min", "Prod", "Sum"), (1,)),
    **dict.fromkeys(("MirrorPad", "Pad", "PadV2", "SplitV"), (1,)),
    **dict.fromkeys(("BatchToSpaceND", "Slice", "SpaceToBatchND"), (1, 2)),
    "StridedSlice": (1, 2, 3),
    "Tile": (1,),
}
FILES = frozenset({"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"})  # their first input is a file
