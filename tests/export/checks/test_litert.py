"""A .tflite file whose weights lie elsewhere, which loops or asks for any amount of memory, is refused unloaded."""

from __future__ import annotations

import re

import exports
import flatbuffers
import pytest

from cnn_tuner.errors import VerificationError

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

from cnn_tuner.export import safety  # noqa: E402
from cnn_tuner.export.checks.litert import ALLOWED, check  # noqa: E402
from cnn_tuner.export.formats import litert, litert_int8  # noqa: E402

Operator = schema.BuiltinOperator


def model(*codes, shape=(1, 16), custom=None):
    """A graph of one tensor and no operator, which declares operations: what is looked at is there, it cannot run."""
    found = schema.ModelT()
    found.version = 3
    found.buffers = [schema.BufferT()]
    tensor = schema.TensorT()
    tensor.shape, tensor.name = list(shape), b"image"
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor], [0], [0], []
    found.subgraphs = [graph]
    found.operatorCodes = [schema.OperatorCodeT() for _ in codes or [Operator.ADD]]
    for made, code in zip(found.operatorCodes, codes or [Operator.ADD], strict=True):
        made.builtinCode, made.deprecatedBuiltinCode, made.customCode = code, min(code, 127), custom
    return found


def packed(found) -> bytes:
    builder = flatbuffers.Builder()
    builder.Finish(found.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def weights_in(place):
    found = model()
    group = schema.ExternalBufferGroupT()
    group.name = place
    found.externalBufferGroups = [group]
    return found


def weights_behind_the_tables():
    found = model()
    found.buffers[0].offset, found.buffers[0].size = 2**20, 2**30
    return found


def without_a_group():
    found = model()
    found.externalBuffers = [schema.ExternalBufferT()]
    return found


def two_graphs():
    found = model()
    found.subgraphs *= 2
    return found


def old_code():
    """Files of before 2020 have their code in the field that is deprecated today."""
    found = model(Operator.WHILE)
    found.operatorCodes[0].builtinCode, found.operatorCodes[0].deprecatedBuiltinCode = 0, Operator.WHILE
    return found


HOSTILE = {
    "a file above": (lambda: weights_in("../secret"), r"its weights lie in another file: \.\./secret$"),
    "a file by its path": (lambda: weights_in("/etc/passwd"), "another file: /etc/passwd$"),
    "a file without a name": (lambda: weights_in(None), "another file: one without a name$"),
    "a buffer without a file": (without_a_group, "its weights lie outside of its tables$"),
    "a buffer elsewhere": (weights_behind_the_tables, "its weights lie outside of its tables$"),
    "a loop": (lambda: model(Operator.ADD, Operator.WHILE), "operation WHILE is not allowed"),
    "a loop of an old file": (old_code, "operation WHILE is not allowed"),
    "a call": (lambda: model(Operator.STABLEHLO_COMPOSITE), "operation STABLEHLO_COMPOSITE is not allowed"),
    "numbers from nothing": (lambda: model(Operator.FILL), "operation FILL is not allowed"),
    "TensorFlow's": (lambda: model(Operator.CUSTOM, custom=b"FlexReadFile"), "operation CUSTOM FlexReadFile is not"),
    "custom code": (lambda: model(Operator.ADD, custom=b"\xffx"), r"operation CUSTOM .+x is not allowed"),
    "an unknown code": (lambda: model(100_000), "operation without a name is not allowed"),
    "two graphs": (two_graphs, "must hold one graph, holds 2$"),
    "a shape": (lambda: model(shape=(1, 2**14, 2**15)), r"a tensor of shape \[1, 16384, 32768\]; allowed are 268,435,"),
    "a shape below 0": (lambda: model(shape=(-1, 4)), r"states a tensor of shape \[-1, 4\]"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_not_as_our_own_is_refused(tmp_path, case):
    make, why = HOSTILE[case]
    (tmp_path / "model.tflite").write_bytes(packed(make()))
    with pytest.raises(VerificationError, match=r"model\.tflite: refused, nothing of it was loaded: ") as error:
        safety.check_formats(tmp_path)
    assert re.search(why, str(error.value))


DAMAGED = [b"", b"no", b"\xff" * 100, b"\x10\0\0\0TFL3" + b"\xff" * 100, packed(model())[:60]]


@pytest.mark.parametrize("content", DAMAGED)
def test_what_is_no_litert_file_is_refused(tmp_path, content):
    (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(VerificationError, match=r"is no LiteRT file that can be read$"):
        check(tmp_path / "model.tflite")


def test_known_operations_pass(tmp_path):
    (tmp_path / "model.tflite").write_bytes(packed(model(*(getattr(Operator, name) for name in sorted(ALLOWED)))))
    safety.check_formats(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("writer", [litert, litert_int8])
def test_our_own_files_of_every_option_pass(tmp_path, writer):
    for number, source in enumerate(exports.sources()):
        writer.write(source, tmp_path / f"{number}.tflite")
        check(tmp_path / f"{number}.tflite")
