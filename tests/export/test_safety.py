"""Somebody else's files: every hostile one is refused in one line, and nothing of it has run by then."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import exports
import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.trackable import resource
from toys import NAMES, toy_space

from cnn_tuner.errors import VerificationError
from cnn_tuner.export import safety
from cnn_tuner.export.checks import container, operations
from cnn_tuner.export.checks import graph as graph_check
from cnn_tuner.export.formats import keras_file as keras_files
from cnn_tuner.export.served import Served

SPACES = (
    "description: x\nblocks: 1\nblock: {filters: 2, dropout: 0.5, padding: valid}\ndense: {layers: 2, units: 4}",
    "description: x\nblock: {filters: 3, kernel_size: 5, strides: 2, padding: same, pool_size: 1}\ndense: {layers: 0}",
)


@pytest.fixture(scope="module")
def export(tmp_path_factory) -> Path:
    return exports.write(tmp_path_factory.mktemp("own") / "1")


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("keras") / "best.keras"
    exports.network().save(path)
    return path


@pytest.fixture
def copy(export, tmp_path) -> Path:
    return shutil.copytree(export, tmp_path / "1")


@pytest.fixture
def unloaded(monkeypatch):
    """Loading fails the test."""

    def load(*_, **__):
        raise AssertionError("it was loaded")

    monkeypatch.setattr(tf.saved_model, "load", load)
    monkeypatch.setattr(keras.saving, "load_model", load)


def refused(check, path: Path, why: str) -> None:
    with pytest.raises(VerificationError, match="refused, nothing of it was loaded: ") as error:
        check(path)
    assert re.search(why, str(error.value)), error.value
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 4


# Each task once and each space, in colour, before a commit; the others in `make test-all`.
SOON = [(task, SPACES[place % len(SPACES)], 3) for place, task in enumerate(NAMES)]


@pytest.mark.parametrize(
    ("task", "space", "channels"),
    [
        pytest.param(*case, marks=[] if case in SOON else pytest.mark.slow)
        for case in itertools.product(NAMES, SPACES, (1, 3))
    ],
)
def test_our_own_exports_pass(tmp_path, task, space, channels):
    point = next(toy_space(space).points())
    live = exports.network(task, point, (9, 8, channels))
    folder = exports.write(tmp_path / "1", task, live)
    (folder / "model_card.md").write_text("# Card")
    live.save(folder / "model.keras")
    safety.check_container(folder)
    safety.check_graph(folder)
    assert Served(folder).task == task


def test_the_operations_are_sorted_and_have_no_side_effects():
    text = Path(operations.__file__).read_text()
    for name in ("ALLOWED", "DECODING", "SAVING"):
        body = re.search(rf"{name} = frozenset\(\((.*?)\)\)", text, re.DOTALL)[1]
        words = re.findall(r'"(\w+)"', body)
        assert words == sorted(words)
    everything = operations.ALLOWED | operations.DECODING
    assert not [op for op in everything if re.search(r"Py|File|Print|Save|Restore|Dataset|Iterator|Library|Assign", op)]


def as_a_volume(folder: Path) -> Path:
    """What Kubernetes makes of a folder: its files behind links, and those behind one link that it can turn."""
    volume = folder.parent / "volume"
    volume.mkdir()
    shutil.copytree(folder, volume / "..2026_01_02_03_04_05.678901234")
    (volume / "..data").symlink_to("..2026_01_02_03_04_05.678901234")
    for path in folder.iterdir():
        (volume / path.name).symlink_to(f"..data/{path.name}")
    return volume


def test_links_that_stay_inside_are_read_as_files(tmp_path):
    volume = as_a_volume(exports.write(tmp_path / "1"))
    safety.check_container(volume)
    safety.check_graph(volume)
    images = exports.images(3)
    assert (Served(volume).scores(images) == Served(tmp_path / "1").scores(images)).all()


def test_hard_links_are_files(tmp_path):
    folder = exports.write(tmp_path / "1")
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, copy_function=os.link)
    for each in (folder, copy):
        safety.check_container(each)
        assert Served(each).task == "multiclass"


LEFT_BEHIND = [".DS_Store", "._saved_model.pb", "assets/Thumbs.db", "variables/._x.keras", "desktop.ini"]


def test_what_file_managers_leave_behind_is_passed_over_and_never_read(tmp_path):
    folder = exports.write(tmp_path / "1")
    before = container.names(folder)
    for name in LEFT_BEHIND:
        (folder / name).symlink_to("/etc/shadow")
    safety.check_container(folder)
    safety.check_formats(folder)
    assert container.names(folder) == before
    assert container.harmless(folder) == sorted(LEFT_BEHIND)
    assert Served(folder).task == "multiclass"


def link(folder: Path) -> None:
    (folder / "assets" / "names.txt").symlink_to("/etc/hostname")


def linked_folder(folder: Path) -> None:
    (folder / "variables").rename(folder.parent / "elsewhere")
    (folder / "variables").symlink_to(folder.parent / "elsewhere")


def dangling_link(folder: Path) -> None:
    (folder / "assets" / "names.txt").symlink_to("nothing.txt")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "manifest.json")


def large(folder: Path) -> None:
    with (folder / "saved_model.pb").open("r+b") as file:
        file.truncate(65 * 2**20)


def pickled(folder: Path) -> None:
    np.savez(folder / "golden.npz", images=np.array([{"a": 1}], dtype=object))


def packed(folder: Path) -> None:
    np.savez_compressed(folder / "golden.npz", images=np.zeros((300, 2**20), np.uint8))


def lying(folder: Path) -> None:
    """An array that says it has 2**40 bytes, of which there are none."""
    with zipfile.ZipFile(folder / "golden.npz", "w") as archive, archive.open("images.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**20)})


def named(name: str):
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")

    return write


CONTAINERS = {
    "link": (link, "names.txt: .*is a symbolic link"),
    "linked folder": (linked_folder, "variables: .*is a symbolic link"),
    "dangling link": (dangling_link, "names.txt: .*is a symbolic link"),
    "pipe": (pipe, "no regular file"),
    "large": (large, "must have at most 64 MiB, has 65"),
    "pickled": (pickled, "images.npy is a pickle"),
    "packed": (packed, "would unpack to over 256 MiB"),
    "lying": (lying, "would unpack to over 256 MiB"),
    "no archive": (named("golden.npz"), "is no archive of arrays"),
    "code": (named("evil.py"), "evil.py: .*does not belong"),
    "library": (named("assets/evil.so"), "evil.so: .*does not belong"),
    "pickle": (named("assets.extra/weights.pkl"), "weights.pkl: .*does not belong"),
    "other graph": (named("saved_model.pbtxt"), "pbtxt: .*does not belong"),
    "other graph in pieces": (named("saved_model.cpb"), "cpb: .*does not belong"),
    "Keras's data": (named("keras_metadata.pb"), "keras_metadata.pb: .*does not belong"),
    "hidden": (named(".evil"), "does not belong"),
    "dots": (named("assets/..evil..txt"), "does not belong"),
    "folder": (named("debug/a.txt"), "debug: .*folder does not belong"),
    "deep": (named("assets/deeper"), "does not belong"),
}


@pytest.mark.parametrize("case", CONTAINERS)
def test_a_strange_file_is_refused(copy, unloaded, case):
    change, why = CONTAINERS[case]
    change(copy)
    refused(safety.check_container, copy, why)
    refused(Served, copy, why)


def test_many_files_are_refused(copy, monkeypatch):
    monkeypatch.setattr(container, "MAX_FILES", 2)
    refused(safety.check_container, copy, "has over 2 files")


def test_files_that_are_large_together_are_refused(copy, monkeypatch):
    monkeypatch.setattr(container, "MAX_BYTES", 2**20)
    (copy / "assets.extra").mkdir(exist_ok=True)
    (copy / "assets.extra" / "a.bin").write_bytes(bytes(2**20))
    refused(safety.check_container, copy, "at most 1 MiB together")


def test_what_an_export_of_today_may_hold_passes(copy):
    for name in ("manifest.json", "SHA256SUMS", "latency.json", "model_card.md", "model.tflite", "model_int8.tflite"):
        (copy / name).write_text("{}")
    named("formats/model.onnx")(copy)
    named("assets.extra/tf_serving_warmup_requests")(copy)
    np.savez(copy / "golden.npz", images=exports.images(), names=np.array(["a", "b"]))
    safety.check_container(copy)


class Writing(resource.TrackableResource):
    """Writes a file as soon as it is loaded."""

    def __init__(self, canary: Path) -> None:
        super().__init__()
        self.canary = str(canary)
        self.resource_handle  # noqa: B018  # made when it is asked for

    def _create_resource(self):
        return tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.int64)

    def _initialize(self):
        tf.io.write_file(self.canary, "it ran")


def test_what_would_write_a_file_while_it_is_loaded_is_refused_before(tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    module = tf.Module()
    module.writing = Writing(canary)
    tf.saved_model.save(module, str(tmp_path / "1"))
    refused(safety.check_graph, tmp_path / "1", "operation (WriteFile|MutableHashTableV2)")
    refused(Served, tmp_path / "1", "operation (WriteFile|MutableHashTableV2)")
    assert not canary.exists()
    tf.saved_model.load(str(tmp_path / "1"))
    assert canary.exists()  # it is as hostile as it claims to be


def touch(canary: Path):
    def answer(x):
        canary.write_text("it ran")
        return x

    return answer


def printing(x, canary):
    tf.print("it ran", output_stream=f"file://{canary}")
    return x


def writing(x, canary):
    tf.io.write_file(str(canary), "it ran")
    return x


def saving(x, canary):
    tf.raw_ops.SaveV2(prefix=str(canary), tensor_names=["a"], shape_and_slices=[""], tensors=[x])
    return x


def restoring(x, canary):
    arguments = {"prefix": "/etc/x", "tensor_names": ["a"], "shape_and_slices": [""]}
    return tf.raw_ops.RestoreV2(**arguments, dtypes=[tf.float32])[0]


def listing(x, canary):
    lines = tf.data.TextLineDataset(["/etc/passwd"])
    return x + tf.cast(lines.reduce(0, lambda count, _: count + 1), tf.float32)


HOSTILE = {
    "py_function": (lambda x, c: tf.py_function(touch(c), [x], tf.float32), "EagerPyFunc"),
    "numpy_function": (lambda x, c: tf.numpy_function(touch(c), [x], tf.float32), "PyFunc"),
    "write": (writing, "WriteFile"),
    "read": (
        lambda x, c: x + tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.float32),
        "ReadFile|Length",
    ),
    "print": (printing, "PrintV2|StringFormat"),
    "save": (saving, "reads or writes files|names a file of its own"),
    "restore": (restoring, "reads or writes files|names a file of its own"),
    "dataset": (listing, "Dataset"),
    "glob": (lambda x, c: x + tf.cast(tf.size(tf.io.matching_files("/etc/*")), tf.float32), "MatchingFiles|Size"),
    "loop": (lambda x, c: tf.while_loop(lambda i: True, lambda i: [i + 1.0], [x])[0], "While|decodes or loops"),
    "fill": (lambda x, c: x + tf.fill([2**14, 2**14 + tf.shape(x)[0]], 1.0)[0, 0], "decodes or loops"),
    "random": (lambda x, c: x + tf.random.uniform([]), "RandomUniform"),
    "resize": (lambda x, c: tf.image.resize(x, (2**15, 2**14)), "allowed are 268,435,456 elements an image"),
    "map": (lambda x, c: tf.map_fn(lambda each: each, x), "While|decodes or loops"),
    "tile": (lambda x, c: tf.tile(x, [2**12, 2**12, 1, 1]), r"\(Tile\) makes .* elements an image"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_operation_is_refused_before_it_is_loaded(tmp_path, unloaded, case):
    answer, why = HOSTILE[case]
    canary = tmp_path / "canary"
    exports.with_answer(tmp_path / "1", lambda x: answer(x, canary))
    canary.unlink(missing_ok=True)
    safety.check_container(tmp_path / "1")
    refused(Served, tmp_path / "1", why)
    assert not canary.exists()


def function(graph, part: str):
    return next(f for f in graph.graph_def.library.function if part in f.signature.name)


def unreachable(graph) -> None:
    graph.graph_def.node.add(name="idle", op="WriteFile")


def unreachable_function(graph) -> None:
    added = graph.graph_def.library.function.add()
    added.signature.name = "idle"
    added.node_def.add(name="w", op="PyFunc")


def asset(name: str):
    def change(graph) -> None:
        graph.asset_file_def.add(filename=name).tensor_info.name = "Const:0"

    return change


def splat(graph) -> None:
    node = next(n for n in function(graph, "__inference_scores").node_def if n.op == "Const")
    tensor = node.attr["value"].tensor
    tensor.Clear()
    tensor.dtype = tf.float32.as_datatype_enum
    tensor.float_val.append(1.0)
    for side in (2**14, 2**14):
        tensor.tensor_shape.dim.add(size=side)


def negative(graph) -> None:
    node = next(n for n in function(graph, "__inference_scores").node_def if n.op == "Const")
    node.attr["value"].tensor.tensor_shape.dim.add(size=-1)


def variant(graph) -> None:
    node = next(n for n in function(graph, "__inference_scores").node_def if n.op == "Const")
    node.attr["value"].tensor.dtype = tf.variant.as_datatype_enum


def large_variable(graph) -> None:
    next(n.variable for n in graph.object_graph_def.nodes if n.HasField("variable")).shape.dim[0].size = 2**24


def large_handle(graph) -> None:
    next(n for n in graph.graph_def.node if n.op == "VarHandleOp").attr["shape"].shape.dim[0].size = 2**24


def large_image(graph) -> None:
    graph.signature_def["scores"].inputs["image"].tensor_shape.dim[1].size = 2**40


def foreign(graph) -> None:
    graph.object_graph_def.nodes[0].user_object.identifier = "_tf_keras_layer"


def registered(graph) -> None:
    graph.object_graph_def.nodes[0].registered_name = "Custom.Evil"


def resourceful(graph) -> None:
    graph.object_graph_def.nodes.add().resource.device = "CPU:0"


def childless(graph) -> None:
    graph.object_graph_def.nodes[0].children.add(node_id=999, local_name="x")


def missing_constant(graph) -> None:
    graph.object_graph_def.nodes.add().constant.operation = "none"


def missing_function(graph) -> None:
    graph.object_graph_def.concrete_functions["none"].SetInParent()


def collected(graph) -> None:
    graph.collection_def["evil"].node_list.value.append("NoOp")


def started(graph) -> None:
    graph.collection_def["saved_model_main_op"].node_list.value.append("StatefulPartitionedCall")


def started_by_signature(graph) -> None:
    graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = "StatefulPartitionedCall"


def started_before(graph) -> None:
    next(n for n in graph.graph_def.node if n.name == "NoOp").input.append("^StatefulPartitionedCall")


def saving_signature(graph) -> None:
    graph.signature_def["scores"].outputs["scores"].name = graph.saver_def.save_tensor_name


def saving_node(graph) -> None:
    saver = graph.saver_def.save_tensor_name.partition(":")[0]
    next(n for n in graph.graph_def.node if n.op == "StatefulPartitionedCall").input.append(f"^{saver}")


def saving_constant(graph) -> None:
    saver = graph.saver_def.save_tensor_name.partition(":")[0]
    next(n for n in graph.graph_def.node if n.name == saver).input[0] = "Const"


def saving_elsewhere(graph) -> None:
    next(n for n in function(graph, "traced_save").node_def if n.op == "SaveV2").input[0] = "Const:output:0"


def saving_outside(graph) -> None:
    for node in function(graph, "traced_save").node_def:
        if node.op == "Const" and node.attr["value"].tensor.string_val:
            node.attr["value"].tensor.string_val[0] = b"/../../etc/x"


def saving_by_others(graph) -> None:
    name = function(graph, "traced_save").signature.name
    next(n for n in graph.graph_def.node if n.op == "StatefulPartitionedCall").attr["f"].func.name = name


def saving_object(graph) -> None:
    graph.object_graph_def.concrete_functions[function(graph, "traced_restore").signature.name].SetInParent()


def assigning(graph) -> None:
    graph.graph_def.node.add(name="a", op="AssignVariableOp", input=["output/bias", "Const"])


def endless(graph) -> None:
    body = function(graph, "signature_wrapper_scores")
    node = next(n for n in body.node_def if n.op == "StatefulPartitionedCall")
    node.attr["f"].func.name = body.signature.name


def multiplying(graph) -> None:
    """Ten functions, each of which calls the next one ten times."""
    library = graph.graph_def.library
    for number in range(10):
        added = library.function.add()
        added.signature.name = f"times_{number}"
        for place in range(10):
            node = added.node_def.add(name=f"n{place}", op="PartitionedCall" if number < 9 else "NoOp")
            if number < 9:
                node.attr["f"].func.name = f"times_{number + 1}"
    graph.graph_def.node.add(name="many", op="PartitionedCall").attr["f"].func.name = "times_0"


def calling_nothing(graph) -> None:
    graph.graph_def.node.add(name="x", op="PartitionedCall").attr["f"].func.name = "none"


def disguised(graph) -> None:
    graph.graph_def.library.function.add().signature.name = "Relu"


def smuggled(graph) -> None:
    graph.graph_def.node.add(name="x", op="Identity").attr["f"].func.name = "none"


def gradient(graph) -> None:
    graph.graph_def.library.gradient.add(function_name="a", gradient_func="b")


def remote(graph) -> None:
    graph.graph_def.node[0].device = "/job:worker/task:1/device:CPU:0"


def foreign_type(graph) -> None:
    node = next(n for n in graph.object_graph_def.nodes if n.HasField("bare_concrete_function"))
    spec = node.bare_concrete_function.function_spec.input_signature
    spec.type_spec_value.type_spec_class_name = "evil.Spec"


def looping_signature(graph) -> None:
    function(graph, "__inference_scores").node_def.add(name="x", op="TensorListReserve")


def looping_node(graph) -> None:
    graph.graph_def.node.add(name="x", op="Range")


CHANGES = {
    unreachable: "operation WriteFile",
    unreachable_function: "operation PyFunc",
    asset("../../../etc/passwd"): "names the asset ../../../etc/passwd",
    asset("/etc/passwd"): "names the asset /etc/passwd",
    asset("none.txt"): "names the asset none.txt",
    splat: "constants would take",
    negative: "unknown shape",
    variant: "type DT_VARIANT",
    large_variable: "its variables would take",
    large_handle: "its variables would take",
    large_image: "states a tensor of shape",
    foreign: "foreign class _tf_keras_layer",
    registered: "foreign class Custom.Evil",
    resourceful: "object of kind resource",
    childless: "names an object that it does not hold",
    missing_constant: "names the constant none",
    missing_function: "names the function none",
    collected: "holds the collection evil",
    started: "loading it would run StatefulPartitionedCall",
    started_by_signature: "loading it would run StatefulPartitionedCall",
    started_before: "loading it would run NoOp",
    saving_signature: "signature scores runs the saver",
    saving_node: "runs the saver",
    saving_constant: "does not take the file's name",
    saving_elsewhere: "names a file of its own",
    saving_outside: "a file outside of the export",
    saving_by_others: "reads or writes files",
    saving_object: "reads or writes files",
    assigning: "operation AssignVariableOp",
    endless: "calls itself",
    multiplying: "would run over 100,000 operations",
    calling_nothing: "calls the function none",
    disguised: "named as an operation",
    smuggled: "calls a function, which it must not",
    gradient: "gradients of its own",
    remote: "not on this machine",
    foreign_type: "foreign type: evil.Spec",
    looping_signature: "signature (scores|of an object) decodes or loops",
    looping_node: "allowed in serving_bytes only",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__qualname__.partition(".")[0])
def test_a_changed_graph_is_refused_before_it_is_loaded(export, tmp_path, unloaded, change):
    folder = exports.changed(export, tmp_path / "1", change)
    refused(Served, folder, CHANGES[change])


def test_what_is_no_graph_is_refused(copy):
    (copy / "saved_model.pb").write_bytes(b"no")
    refused(safety.check_graph, copy, "no SavedModel that can be read")


def test_a_second_graph_is_refused(copy):
    file = copy / "saved_model.pb"
    found = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    found.meta_graphs.add()
    file.write_bytes(found.SerializeToString())
    refused(safety.check_graph, copy, "must hold one graph, holds 2")


def test_an_index_of_larger_variables_is_refused(copy, tmp_path):
    point = exports.POINT | {"dense_1.units": 512}
    other = exports.write(tmp_path / "2", live=exports.network(point=point))
    shutil.copy(other / "variables" / "variables.index", copy / "variables" / "variables.index")
    refused(safety.check_graph, copy, "its variables would take")


def test_a_damaged_index_is_refused(copy):
    (copy / "variables" / "variables.index").write_bytes(b"no")
    refused(safety.check_graph, copy, "variables.index: .*cannot be read")


def test_an_image_size_that_no_image_has_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("cnn_tuner.export.served.MAX_SIDE", 7)
    with pytest.raises(VerificationError, match="it asks for images of 8x8x1"):
        Served(exports.write(tmp_path / "1"))


def test_a_shape_is_limited_wherever_it_stands(export, monkeypatch):
    monkeypatch.setattr(graph_check, "MAX_ELEMENTS", 10)
    refused(safety.check_graph, export, "states a tensor of shape")


def rewritten(source: Path, path: Path, **members: bytes | None) -> Path:
    """A copy of a .keras file with members changed, added, or dropped where they are None."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        kept = {name: old.read(name) for name in old.namelist()}
        for name, content in (kept | members).items():
            if content is not None:
                new.writestr(name, content)
    return path


def with_config(source: Path, path: Path, change) -> Path:
    with zipfile.ZipFile(source) as archive:
        config = json.loads(archive.read("config.json"))
    change(config, {layer["name"]: layer for layer in config["config"]["layers"]})
    return rewritten(source, path, **{"config.json": json.dumps(config).encode()})


def of_a_newer_keras(config, layers) -> None:
    config["config"]["layers"][1]["config"]["not_yet_known"] = 1


def test_what_keras_itself_cannot_read_is_told_in_one_line(keras_file, tmp_path):
    assert keras_files.load(keras_file).count_params() > 0
    with pytest.raises(VerificationError, match=r"a\.keras: cannot be read by Keras 3\.\d+\.\d+: ") as error:
        keras_files.load(with_config(keras_file, tmp_path / "a.keras", of_a_newer_keras))
    assert "\n" not in str(error.value)


def with_weights(source: Path, path: Path, change) -> Path:
    with zipfile.ZipFile(source) as archive:
        scratch = Path(archive.extract("model.weights.h5", path.parent))
    with h5py.File(scratch, "a") as file:
        change(file)
    return rewritten(source, path, **{"model.weights.h5": scratch.read_bytes()})


def set_layer(name: str, value, *keys: str):
    def change(_, layers) -> None:
        found = layers[name]
        for key in keys[:-1]:
            found = found[key]
        found[keys[-1]] = value

    return change


LAMBDA = {"class_name": "__lambda__", "config": {"value": "x"}}
CONFIGS = {
    "lambda": (set_layer("flatten", LAMBDA, "config", "function"), "class None.__lambda__"),
    "Lambda layer": (set_layer("flatten", "Lambda", "class_name"), "class keras.layers.Lambda"),
    "another SavedModel": (set_layer("flatten", "TFSMLayer", "class_name"), "class keras.layers.TFSMLayer"),
    "function": (set_layer("flatten", "os", "module"), "class os.Flatten"),
    "registered": (set_layer("flatten", "Custom>Evil", "registered_name"), "registered class Custom>Evil"),
    "vocabulary": (set_layer("flatten", "StringLookup", "class_name"), "class keras.layers.StringLookup"),
    "activation": (set_layer("output", "evil", "config", "activation"), "has the activation evil"),
    "regularizer": (set_layer("output", "l2", "config", "kernel_regularizer"), "has a kernel_regularizer"),
    "groups": (set_layer("block_1_conv_1", 2, "config", "groups"), "or groups"),
    "dilated": (set_layer("block_1_conv_1", [2, 2], "config", "dilation_rate"), "is dilated"),
    "large layer": (set_layer("output", 2**24, "config", "units"), r"need weights of shape \[\d+, 16777216\]"),
    "huge layer": (set_layer("output", 2**40, "config", "units"), "gives .* for an image"),
    "large kernel": (set_layer("block_1_conv_1", [2**12, 2**12], "config", "kernel_size"), "need weights|gives"),
    "no stride": (set_layer("block_1_conv_1", [0, 0], "config", "strides"), "gives"),
    "large image": (set_layer("image", [None, 2**20, 2**20, 1], "config", "batch_shape"), "gives .* for an image"),
    "fixed batch": (set_layer("image", [2**30, 8, 8, 1], "config", "batch_shape"), "any number of images"),
    "built for more": (set_layer("output", {"input_shape": [None, 2**30]}, "build_config"), "is built for"),
    "no chain": (set_layer("output", [], "inbound_nodes"), "our models are chains"),
    "no model": (lambda config, _: config.update(class_name="Sequential"), "class keras.src.models.functional.Seq"),
    "nothing": (lambda config, _: config.clear(), "no .keras file that can be read"),
}


def external_link(file) -> None:
    file["layers/evil"] = h5py.ExternalLink("/etc/passwd", "x")


def soft_link(file) -> None:
    file["layers/evil"] = h5py.SoftLink("/nowhere")


def external_storage(file) -> None:
    file.create_dataset("layers/evil", (4,), "u1", external=[("/etc/passwd", 0, 4)])


def virtual(file) -> None:
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset("layers/evil", layout)


def unallocated(file) -> None:
    file.create_dataset("layers/evil", (2**20, 2**20), "f4", chunks=(1, 1024))


def texts(file) -> None:
    file.create_dataset("layers/evil", data=["text"])


def deep(file) -> None:
    file.create_group("/".join("a" * 12))


WEIGHTS = {
    external_link: "a link to somewhere else",
    soft_link: "a link to somewhere else",
    external_storage: "lie in another file",
    virtual: "lie in another file",
    unallocated: "would take 4,398,046,511,104 bytes, but 0 are stored",
    texts: "no array of numbers",
    deep: "nested too deep",
}


def test_our_own_keras_files_pass(keras_file):
    safety.check_keras(keras_file)


@pytest.mark.parametrize("case", CONFIGS)
def test_a_strange_layer_is_refused(keras_file, tmp_path, unloaded, case):
    change, why = CONFIGS[case]
    refused(safety.check_keras, with_config(keras_file, tmp_path / "a.keras", change), why)


@pytest.mark.parametrize("change", WEIGHTS, ids=lambda change: change.__name__)
def test_strange_weights_are_refused(keras_file, tmp_path, unloaded, change):
    refused(safety.check_keras, with_weights(keras_file, tmp_path / "a.keras", change), WEIGHTS[change])


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"evil.py": b"x"}, "holds evil.py"),
        ({"/etc/cron.d/evil": b"x"}, "holds /etc/cron.d/evil"),
        ({"../../evil": b"x"}, "holds ../../evil"),
        ({"assets/vocabulary.txt": b"x"}, "holds assets/vocabulary.txt"),
        ({"metadata.json": None}, "must hold each of"),
        ({"config.json": b"[" * 100_000}, "nested too deep|can be read"),
        ({"model.weights.h5": b"no"}, "no .keras file that can be read"),
    ],
    ids=lambda value: "-".join(value)[:20] if isinstance(value, dict) else "",
)
def test_strange_members_are_refused(keras_file, tmp_path, unloaded, members, why):
    refused(safety.check_keras, rewritten(keras_file, tmp_path / "a.keras", **members), why)


def test_a_member_that_unpacks_to_much_is_refused(keras_file, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", bytes(10**6))
        archive.writestr("metadata.json", b"{}")
        archive.writestr("model.weights.h5", b"x")
    refused(safety.check_keras, tmp_path / "a.keras", "config.json would unpack to 1,000,000 bytes")


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "a.keras").write_bytes(b"no")
    refused(safety.check_keras, tmp_path / "a.keras", "no .keras file that can be read")


def test_a_lambda_does_not_run(tmp_path, unloaded):
    canary = tmp_path / "canary"
    text = str(canary)
    inputs = keras.Input((8, 8, 1))
    touching = lambda x: (__import__("pathlib").Path(text).touch(), x)[1]  # noqa: E731
    output = keras.layers.Lambda(touching, output_shape=(8, 8, 1))(inputs)
    keras.Model(inputs, output).save(tmp_path / "evil.keras")
    canary.unlink(missing_ok=True)
    refused(safety.check_keras, tmp_path / "evil.keras", "Lambda|__lambda__")
    assert not canary.exists()


def test_a_hostile_keras_file_in_an_export_is_found_with_it(copy, keras_file):
    with_config(keras_file, copy / "model.keras", CONFIGS["Lambda layer"][0])
    refused(Served, copy, "class keras.layers.Lambda")
