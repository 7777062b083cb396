"""An ONNX file whose weights lie elsewhere, which loops or has code of others, is refused before it is loaded."""

from __future__ import annotations

import re

import exports
import numpy as np
import pytest

from cnn_tuner.errors import VerificationError

onnx = pytest.importorskip("onnx")
from onnx import helper, numpy_helper  # noqa: E402

from cnn_tuner.export import safety  # noqa: E402
from cnn_tuner.export.checks.onnx_file import check  # noqa: E402
from cnn_tuner.export.formats import onnx_file  # noqa: E402


def model(*nodes, weights=()):
    nodes = nodes or (helper.make_node("Add", ["image", "w"], ["scores"]),)
    weights = weights or (numpy_helper.from_array(np.ones(16, np.uint8), "w"),)
    image, scores = (helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, [16]) for name in ("image", "scores"))
    return helper.make_model(helper.make_graph(nodes, "cnn", [image], [scores], weights))


def external(place: str | None):
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.UINT8, dims=[16])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    if place is not None:
        tensor.external_data.add(key="location", value=place)
    return tensor


def within_a_node(tensor):
    node = helper.make_node("Constant", [], ["w"])
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    return model(node, helper.make_node("Add", ["image", "w"], ["scores"]))


def loop():
    body = model().graph
    return model(helper.make_node("Loop", ["", ""], ["scores"], body=body))


def with_function():
    found = model()
    found.functions.add(name="Add", domain="evil")
    return found


HOSTILE = {
    "a file above": (lambda: model(weights=[external("../secret")]), r"weights lie in another file: \.\./secret$"),
    "a file by its path": (lambda: model(weights=[external("/etc/passwd")]), "another file: /etc/passwd$"),
    "a file beside it": (lambda: model(weights=[external("model.keras")]), r"another file: model\.keras$"),
    "a file without a name": (lambda: model(weights=[external(None)]), "another file: one without a name$"),
    "a file in a node": (lambda: within_a_node(external("/etc/passwd")), "another file: /etc/passwd$"),
    "a library": (lambda: model(helper.make_node("X", [], [], domain="evil")), r"operation evil\.X is not allowed"),
    "numbers from nothing": (lambda: model(helper.make_node("Expand", ["image", "w"], ["scores"])), "Expand is not"),
    "a loop": (loop, "operation Loop is not allowed"),
    "a function": (with_function, "holds functions or training of its own"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_not_as_our_own_is_refused(tmp_path, case):
    make, why = HOSTILE[case]
    (tmp_path / "model.onnx").write_bytes(make().SerializeToString())
    with pytest.raises(VerificationError, match=r"model\.onnx: refused, nothing of it was loaded: ") as error:
        safety.check_formats(tmp_path)
    assert re.search(why, str(error.value))


@pytest.mark.parametrize("content", [b"no", b"\xff" * 100])
def test_what_is_no_onnx_file_is_refused(tmp_path, content):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(VerificationError, match=r"is no ONNX file that can be read$"):
        check(tmp_path / "model.onnx")


def test_plain_arithmetic_passes(tmp_path):
    (tmp_path / "model.onnx").write_bytes(model().SerializeToString())
    safety.check_formats(tmp_path)


@pytest.mark.slow
def test_our_own_files_of_every_option_pass(tmp_path):
    pytest.importorskip("tf2onnx")
    for number, source in enumerate(exports.sources()):
        onnx_file.write(source, tmp_path / f"{number}.onnx")
        check(tmp_path / f"{number}.onnx")
