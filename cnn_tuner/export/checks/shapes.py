"""How much memory the functions of a SavedModel ask for, known by the shapes of their tensors before any is loaded.

Operations are added to a graph one after the other, as TensorFlow does it when it loads a function. With each it infers
shapes, and may run what is made of constants alone to do so: a size is looked at before the next operation is added.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, tensor_shape_pb2

from cnn_tuner.data.files import one_line, shown
from cnn_tuner.export.checks.container import refused
from cnn_tuner.export.checks.operations import CALLS, STEERED
from cnn_tuner.export.checks.reach import BYTES, functions_of_signatures, messages

BATCH = 256  # images in one call, the most that anything here asks an export for
MAX_ELEMENTS = 2**28  # of one tensor for one image, as `cnn_tuner.export.checks.keras_layers` has it of a layer
MAX_TOTAL = 2**32  # of all tensors for one image
MAX_FIXED = 2**26  # of a tensor that is made of constants
MAX_TEXT = 4096  # bytes of a text, which counts as so many numbers of 32 bits
# Never constants: without inputs, or run by what is not there yet while a function is loaded.
_OPEN = CALLS | {"NoOp", "Placeholder", "VarHandleOp"}
_HANDLES = frozenset({tf.resource, tf.variant})  # stand for variables and lists
# The inputs of what gives the sizes of a tensor, and of what chooses from among them.
_SIZES = {
    "GatherV2": ("params", "indices", "axis"),
    "Shape": ("input",),
    "StridedSlice": ("input", "begin", "end", "strides"),
}
_CHOICES = {"batch_dims", "begin_mask", "ellipsis_mask", "end_mask", "new_axis_mask", "shrink_axis_mask"}


def check_shapes(path: Path, graph: Any) -> None:
    """Looks at the tensors of every function as it is loaded, and of every signature as it is called.

    A call has up to `BATCH` images. Shapes are inferred for an unknown number, on which nothing but a tensor's first
    size may depend, and for the highest. A lower one makes no more: numbers by which a tensor is cut, padded or summed
    up have to be constants (`STEERED`), so that with fewer images no first size is larger. `serving_bytes` decodes and
    loops, and is called by processes that end when memory runs out.

    Raises:
        VerificationError: one is larger than allowed, or its size is not known.
    """
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    named = functions_of_signatures(graph, {node.name: node for node in graph.graph_def.node})
    called = sorted(set().union(*(found for name, found in named.items() if name != BYTES)))
    try:
        _load(path, functions)
        if len({_takes(path, graph, functions[name]) for name in called} - {()}) > 1:
            raise refused(path, "its signatures take images of different shapes")
        for name in called:
            for images in (None, BATCH):
                _call(path, graph, functions, name, images)
    except CycleError as error:
        raise refused(path, "holds a function whose operations wait for each other") from error
    except (KeyError, IndexError, TypeError, ValueError, tf.errors.OpError) as error:
        raise refused(path, f"holds a function that TensorFlow cannot load: {one_line(error)}") from error


class _Loaded:
    """A graph that functions are added to, each by itself, as TensorFlow loads them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.graph = tf.Graph()
        self.fixed: set[str] = set()  # the operations that are made of constants

    def argument(self, dtype: int, shape: tensor_shape_pb2.TensorShapeProto | None) -> tf.Tensor:
        """A tensor of which the shape is known at most."""
        shape = tensor_shape_pb2.TensorShapeProto(unknown_rank=True) if shape is None else shape
        attributes = {"dtype": attr_value_pb2.AttrValue(type=dtype), "shape": attr_value_pb2.AttrValue(shape=shape)}
        return self.graph.create_op("Placeholder", [], attrs=attributes).outputs[0]

    def add(self, function: Any, arguments: list[tf.Tensor]) -> list[tf.Tensor]:
        """Adds what is in a function, and returns its outputs."""
        nodes = {node.name: node for node in function.node_def}
        names = [argument.name for argument in function.signature.input_arg]
        tensors = {name: [tensor] for name, tensor in zip(names, arguments, strict=True)}
        needs = {name: [_place(each)[0] for each in node.input] for name, node in nodes.items()}
        for name in TopologicalSorter(needs).static_order():
            if name not in tensors:
                inputs = [_found(tensors, nodes, each) for each in nodes[name].input if not each.startswith("^")]
                tensors[name] = self.outputs(nodes[name], inputs)
        return [_found(tensors, nodes, function.ret[output.name]) for output in function.signature.output_arg]

    def outputs(self, node: Any, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        attributes = {key: value for key, value in node.attr.items() if not key.startswith("_")}
        if node.op == "Const":
            self.check_texts(node)
        made = self.graph.create_op(node.op, inputs, attrs=attributes)
        if node.op == "Shape":
            is_fixed = inputs[0].shape.is_fully_defined()  # all of its input that it needs
        else:
            is_fixed = node.op not in _OPEN and all(each.op.name in self.fixed for each in inputs)
        if is_fixed:
            self.fixed.add(made.name)
            sizes = [_elements(output) for output in made.outputs]
            if any(size is None or size > MAX_FIXED for size in sizes) and node.op != "Const":
                raise self.refused(node, f"makes {_told(made)} of constants; allowed are {MAX_FIXED:,} elements")
        return list(made.outputs)

    def check_texts(self, node: Any) -> None:
        if any(len(text) > MAX_TEXT for text in node.attr["value"].tensor.string_val):
            raise self.refused(node, f"holds a text of over {MAX_TEXT:,} bytes")

    def refused(self, node: Any, why: str) -> Exception:
        return refused(self.path, f"node {shown(node.name)} ({node.op}) {why}")


class _Called(_Loaded):
    """A graph of one function with all that it calls, for a number of images, or any number."""

    def __init__(self, path: Path, functions: dict[str, Any], images: int | None) -> None:
        super().__init__(path)
        self.functions, self.images = functions, images
        self.variables: dict[str, tf.Tensor] = {}  # what is read of each, by the name of the tensor that stands for it
        self.sizes: dict[str, list[tf.Tensor]] = {}  # numbers that are sizes, by the name of the tensor of all of them
        self.total = 0

    def outputs(self, node: Any, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        if node.op in CALLS:
            return self.add(self.functions[node.attr["f"].func.name], inputs)
        if node.op == "ReadVariableOp":
            return [self.variables[inputs[0].name]]
        if any(inputs[place].op.name not in self.fixed for place in STEERED.get(node.op, ())):
            raise self.refused(node, "cuts, pads or sums up by a number that is not fixed")
        made = super().outputs(node, inputs)
        if self.images is not None:
            self._count(node, made)
            return made
        for output in made:
            if output.dtype not in _HANDLES and (output.shape.rank is None or None in output.shape.as_list()[1:]):
                raise self.refused(node, "makes a tensor of unknown size")
        return self._sizes(node, inputs, made[0]) if node.op in _SIZES else made

    def _count(self, node: Any, made: list[tf.Tensor]) -> None:
        assert self.images is not None
        for output in made:
            size = _elements(output)
            if size is None or size > MAX_ELEMENTS * self.images:
                told = f"makes {output.shape} of {self.images} images; allowed are {MAX_ELEMENTS:,} elements an image"
                raise self.refused(node, told)
            self.total += size
        if self.total > MAX_TOTAL * self.images:
            raise refused(self.path, f"its tensors would take over {MAX_TOTAL:,} elements an image")

    def _sizes(self, node: Any, inputs: list[tf.Tensor], output: tf.Tensor) -> list[tf.Tensor]:
        """The sizes of a tensor, or some of them, each by itself: TensorFlow takes none as known unless all are."""
        if node.op == "Shape":
            numbers = [self._number(size, output.dtype) for size in inputs[0].shape]
            return [self._packed(numbers) if numbers else output]
        if inputs[0].name not in self.sizes or any(each.op.type != "Const" for each in inputs[1:]):
            return [output]
        numbers = self.sizes[inputs[0].name]
        given = [tf.range(len(numbers)), *map(tf.get_static_value, inputs[1:])]
        choices = {key: value.i for key, value in node.attr.items() if key in _CHOICES}
        chosen = getattr(tf.raw_ops, node.op)(**dict(zip(_SIZES[node.op], given, strict=True)), **choices).numpy()
        if chosen.ndim == 1 and chosen.size:
            return [self._packed([numbers[place] for place in chosen])]
        return [output if chosen.ndim else numbers[chosen]]

    def _number(self, size: int | None, dtype: tf.DType) -> tf.Tensor:
        with self.graph.as_default():
            number = tf.compat.v1.placeholder(dtype, ()) if size is None else tf.constant(size, dtype)
        if size is not None:
            self.fixed.add(number.op.name)
        return number

    def _packed(self, numbers: list[tf.Tensor]) -> tf.Tensor:
        with self.graph.as_default():
            packed = tf.stack(numbers)
        self.sizes[packed.name] = numbers
        if all(number.op.name in self.fixed for number in numbers):
            self.fixed.add(packed.op.name)
        return packed


def _elements(tensor: tf.Tensor) -> int | None:
    """The numbers of a tensor, as far as all its sizes are known."""
    if tensor.dtype in _HANDLES:
        return 0
    size = tensor.shape.num_elements()
    return size * MAX_TEXT // 4 if size is not None and tensor.dtype == tf.string else size


def _told(made: tf.Operation) -> str:
    return ", ".join(str(output.shape) for output in made.outputs)


def _place(name: str) -> tuple[str, str, int]:
    """The node, the output and the index of `name` or `name:output:index`; of `^name`, which only has to run first."""
    node, _, place = name.removeprefix("^").partition(":")
    output, _, index = place.partition(":")
    return node, output, int(index or 0)


def _found(tensors: dict[str, list[tf.Tensor]], nodes: dict[str, Any], name: str) -> tf.Tensor:
    node, output, index = _place(name)
    made = tensors[node]
    if node in nodes and nodes[node].op == "FusedBatchNormV3":  # of those allowed, alone in naming several outputs
        index = [each.name for each in made[0].op.op_def.output_arg].index(output)
    return made[index]


def _load(path: Path, functions: dict[str, Any]) -> None:
    made = _Loaded(path)
    known: dict[tuple[int, Any], tf.Tensor] = {}  # one for all arguments of a kind: there are many, of few kinds
    for function in functions.values():
        arguments = []
        for place, argument in enumerate(function.signature.input_arg):
            shape = _stated(function, place)
            kind = (argument.type, None if shape is None else shape.SerializeToString())
            if kind not in known:
                known[kind] = made.argument(argument.type, shape)
            arguments.append(known[kind])
        made.add(function, arguments)


def _stated(function: Any, place: int) -> Any:
    """The shape that TensorFlow believes an argument to have while it loads the function."""
    stated = function.arg_attr[place].attr["_output_shapes"]
    shapes = [stated.shape] if stated.HasField("shape") else stated.list.shape
    if not shapes and function.signature.input_arg[place].type != tf.resource.as_datatype_enum:
        shapes = function.attr["_input_shapes"].list.shape[place:]
    return shapes[0] if shapes else None


def _takes(path: Path, graph: Any, function: Any) -> tuple[int, ...]:
    """The shape of an image that a function of a signature takes; empty, if it takes nothing."""
    name = function.signature.name
    if name not in graph.object_graph_def.concrete_functions:
        raise refused(path, f"does not say what the function {shown(name)} is called with")
    saved = graph.object_graph_def.concrete_functions[name]
    stated = messages(saved.canonicalized_input_signature)
    found = [each for each in stated if each.DESCRIPTOR.full_name == "tensorflow.TensorSpecProto"]
    if len(found) > 1 or len(found) + len(saved.bound_inputs) != len(function.signature.input_arg):
        raise refused(path, f"function {shown(name)} takes something other than images")
    if not found:
        return ()
    batch, *sides = [dim.size for dim in found[0].shape.dim] or [0]
    if batch != -1 or not sides or min(sides) < 1:
        raise refused(path, f"function {shown(name)} does not take any number of images of one size")
    return tuple(sides)


def _call(path: Path, graph: Any, functions: dict[str, Any], name: str, images: int | None) -> None:
    made, function = _Called(path, functions, images), functions[name]
    saved, objects = graph.object_graph_def.concrete_functions[name], graph.object_graph_def.nodes
    constants = {node.name: node for node in graph.graph_def.node if node.op == "Const"}
    sides, types = _takes(path, graph, function), [argument.type for argument in function.signature.input_arg]
    arguments = [made.argument(types[0], tf.TensorShape((images, *sides)).as_proto())] if sides else []
    for place in saved.bound_inputs:
        bound, dtype = objects[place], types[len(arguments)]
        match bound.WhichOneof("kind"):
            case "variable":
                arguments.append(made.argument(dtype, None))
                made.variables[arguments[-1].name] = made.argument(bound.variable.dtype, bound.variable.shape)
            case "constant":
                made.check_texts(constants[bound.constant.operation])
                shape = constants[bound.constant.operation].attr["value"].tensor.tensor_shape
                arguments.append(made.argument(dtype, shape))
            case kind:
                raise refused(path, f"function {shown(name)} is given an object of kind {kind}")
    made.add(function, arguments)
