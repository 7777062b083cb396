"""An export: the same bytes each time, in several formats, with the papers by which anybody can verify it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import exports
import keras
import numpy as np
import pytest
import tensorflow as tf
import toys
import typer
from export.graph.test_resampling import bomb
from export.test_safety import as_a_volume
from export.test_verify import IMAGES, NAMES, POINT, built, source
from later import later
from PIL import Image
from search.test_tuning import tuned, write_request
from tensorflow.core.framework import tensor_pb2

from cnn_tuner import cli
from cnn_tuner.data.pictures import read_image_bytes
from cnn_tuner.errors import UsageError, VerificationError
from cnn_tuner.export import checksums, golden, manifest, verification
from cnn_tuner.export.formats import registry, saved_model
from cnn_tuner.export.formats.registry import FORMATS
from cnn_tuner.export.graph import warm_up
from cnn_tuner.metrics.tasks import Output
from cnn_tuner.models import builder
from cnn_tuner.report.serving import loading
from cnn_tuner.runs.images import load_data
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search import winner
from cnn_tuner.search.observer import Silent
from cnn_tuner.spaces import architecture

DIFFERS = {"latency.json", "SHA256SUMS", "model_card.md"}  # from one export of a run to the next
PAPERS = {"golden.npz", "latency.json", "manifest.json", "model_card.md", "SHA256SUMS"}
MODEL = {
    "saved_model.pb",
    "variables/variables.data-00000-of-00001",
    "variables/variables.index",
    "assets/class_names.txt",
    "assets.extra/tf_serving_warmup_requests",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunStore:
    """A complete run, whose export was read by new processes."""
    request = replace(write_request(tmp_path_factory.mktemp("export"), "multiclass"), max_trials=1, epochs=4)
    return RunStore.open(tuned(request).folder)


@pytest.fixture
def folder(run, tmp_path) -> Path:
    """A copy of its export, to be spoilt."""
    return shutil.copytree(run.latest_export(), tmp_path / "1")


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def verified(folder: Path) -> list[verification.Step]:
    return list(verification.verify_folder(folder))


def test_an_export_holds_the_model_and_its_papers(run):
    assert names(run.latest_export()) == MODEL | PAPERS


def test_two_exports_of_a_run_are_the_same_bytes(run, monkeypatch):
    toys.read_nothing(monkeypatch)
    first = run.latest_export()
    tf.function(lambda x: x + 1)(tf.constant(1))  # TensorFlow numbers functions as it makes them
    second = winner.export(run, load_data(run), Silent()).path
    try:
        assert names(first) == names(second)
        for name in names(first) - DIFFERS:
            assert (first / name).read_bytes() == (second / name).read_bytes(), name
    finally:
        shutil.rmtree(second)


def test_the_sums_are_those_of_sha256sum(run):
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=run.latest_export())
    assert done.returncode == 0


def test_the_manifest_says_what_the_export_is(run):
    found = manifest.read(run.latest_export())
    config, crowned = run.config, run.winner()
    assert (found.name, found.task, found.image_shape) == ("toy", "multiclass", (8, 8, 1))
    assert found.class_names == NAMES["multiclass"]
    assert found.test == crowned.test
    assert found.test_intervals == crowned.test_intervals
    assert (found.data_fingerprint, found.seed) == (config.data.fingerprint, config.search.seed)
    [entry] = found.formats.values()
    assert set(entry.files) == MODEL
    assert entry.test["accuracy"] == pytest.approx(crowned.test["accuracy"])
    assert {name: (set(s.inputs), set(s.outputs)) for name, s in found.signatures.items()} == {
        "labels": (set(), {"class_names"}),
        "scores": ({"image"}, {"scores"}),
        "serving_bytes": ({"image_bytes"}, {"class", "probability", "probabilities"}),
        "serving_default": ({"image"}, {"class", "probability", "probabilities"}),
    }
    image = found.signatures["serving_default"].inputs["image"]
    assert (image.dtype, image.shape) == ("uint8", (None, 8, 8, 1))
    assert found.signatures["serving_bytes"].inputs["image_bytes"] == manifest.Tensor(dtype="string", shape=(None,))


def test_latencies_are_those_of_1_and_64_images(run):
    found = json.loads((run.latest_export() / "latency.json").read_text())
    [milliseconds] = found["milliseconds"].values()
    assert 0 < milliseconds["1"] < milliseconds["64"]


def test_class_names_are_an_asset_of_the_graph(run):
    from tensorflow.core.protobuf import saved_model_pb2

    content = (run.latest_export() / "saved_model.pb").read_bytes()
    [graph] = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    assert [asset.filename for asset in graph.asset_file_def] == ["class_names.txt"]
    assert b"/tmp" not in content
    assert (run.latest_export() / "assets" / "class_names.txt").read_text() == "zero\none\ntwo\nthree\n"


def test_golden_samples_are_few_and_of_every_class(run):
    samples = golden.read(run.latest_export(), "multiclass", NAMES["multiclass"], (8, 8, 1))
    assert len(samples.images) == len(samples.y) == 60
    assert (run.latest_export() / "golden.npz").stat().st_size < golden.MOST_BYTES
    assert set(samples.y) == {0, 1, 2, 3}


def test_golden_samples_stay_within_their_bytes():
    y = np.repeat(np.arange(10), 100)
    assert len(golden.choose("multiclass", y, 784)) == 64
    assert len(golden.choose("multiclass", y, 150_528)) == 13
    assert len(golden.choose("regression", y[:, None], 2**24)) == 1
    assert list(golden.choose("multilabel", np.zeros((3, 5)), 784)) == [0, 1, 2]


def test_files_get_the_answers_of_their_pixels(run):
    served = tf.saved_model.load(str(run.latest_export())).signatures
    contents = []
    for size, kind in (((8, 8), "PNG"), ((50, 31), "PNG"), ((50, 31), "JPEG")):
        pixels = np.random.default_rng(size[0]).integers(0, 256, (*size, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind)
        contents.append(stream.getvalue())
    images = np.stack([read_image_bytes(content, (8, 8, 1)) for content in contents])
    by_file, by_pixels = served["serving_bytes"](image_bytes=contents), served["serving_default"](image=images)
    for name in by_pixels:
        np.testing.assert_array_equal(by_file[name], by_pixels[name])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bomb(5001, 5000), "image too large: must have at most 25 megapixels"),
        (b"no image", "must be the bytes of a PNG or JPEG file"),
    ],
)
def test_one_bad_file_of_a_batch_is_refused_before_it_is_decoded(run, content, message):
    served = tf.saved_model.load(str(run.latest_export())).signatures["serving_bytes"]
    good = tf.io.encode_png(np.zeros((8, 8, 1), np.uint8))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        served(image_bytes=tf.stack([good, tf.constant(content), good]))


def test_warm_up_requests_can_be_answered(run):
    served = tf.saved_model.load(str(run.latest_export())).signatures
    records = list(tf.data.TFRecordDataset(str(run.latest_export() / warm_up.FILE)).as_numpy_iterator())
    requests = [fields(fields(fields(record)[6])[1]) for record in records]
    asked = []
    for request in requests:
        spec, entry = fields(request[1]), fields(request[2])
        tensor = tf.make_ndarray(tensor_pb2.TensorProto.FromString(entry[2]))
        asked.append(spec[3].decode())
        served[asked[-1]](**{entry[1].decode(): tf.constant(tensor)})
    assert asked == ["serving_default", "scores", "serving_bytes"]


def fields(message: bytes) -> dict[int, bytes]:
    """The fields of a protobuf message, all of them bytes."""
    found, place = {}, 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place, value, shift = place + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while place < len(message):
        number = varint() >> 3
        length = varint()
        found[number], place = message[place : place + length], place + length
    return found


def test_a_model_that_computes_in_bfloat16_is_exported_in_float32(tmp_path):
    plan = architecture.build(POINT, (8, 8, 1), Output("multiclass", 4))
    mixed, plain = builder.build(plan, 3, "bfloat16"), builder.build(plan, 3, "float32")
    copy = saved_model.in_float32(mixed)
    np.testing.assert_array_equal(copy.predict(IMAGES, verbose=0), plain.predict(IMAGES, verbose=0))
    saved_model.write(source("multiclass", copy), tmp_path / "1")
    assert b"bfloat16" not in (tmp_path / "1" / "saved_model.pb").read_bytes()
    assert saved_model.in_float32(plain) is plain


# Verification


@pytest.mark.slow
def test_verify_names_its_steps_in_order(run):
    steps = verified(run.latest_export())
    names = ["container", "checksums", "graph", "signatures", "tf_saved_model", "accuracy"]
    assert [step.name for step in steps] == names
    assert {step.status for step in steps} == {"passed"}


@pytest.mark.parametrize("name", sorted(MODEL | PAPERS))
def test_one_flipped_byte_is_found_with_its_file(folder, name):
    content = (folder / name).read_bytes()
    for place in sorted({0, len(content) // 3, len(content) // 2, len(content) - 1}):
        (folder / name).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(VerificationError) as error:
            verified(folder)
        assert Path(name).name in str(error.value), place
        assert "\n" not in str(error.value)


def edit_golden(folder: Path, change) -> None:
    with np.load(folder / "golden.npz") as arrays:
        found = dict(arrays)
    change(found)
    np.savez(folder / "golden.npz", **found)


def raise_a_score(found: dict[str, np.ndarray]) -> None:
    found["scores"][5, 1] += 0.25


def spoil_deflated(file: Path) -> None:
    """Bytes that are no DEFLATE stream, in the middle of an array: sizes and names still fit."""
    content = bytearray(file.read_bytes())
    content[400:800] = b"\xff" * 400
    file.write_bytes(content)


def edit_manifest(folder: Path, change) -> None:
    found = json.loads((folder / "manifest.json").read_text())
    change(found)
    (folder / "manifest.json").write_text(json.dumps(found))


READ_FIRST = {"other weights", "the accuracy", "class names everywhere but in the graph"}  # found by a new process
SPOILT = {
    "a score of a golden sample": (
        lambda f: edit_golden(f, raise_a_score),
        r"image 5 of golden\.npz: a score differs by 0\.\d+, allowed are 1e-05$",
    ),
    "golden samples that are none": (
        lambda f: (f / "golden.npz").write_bytes(b"no"),
        r"golden\.npz: refused, .*: is no archive of arrays: File is not a zip file$",
    ),
    "golden samples of another shape": (
        lambda f: edit_golden(f, lambda a: a.update(images=np.zeros((2, 9, 9, 1), np.uint8), y=np.array([0, 1]))),
        r"golden\.npz: images: must be uint8 of shape \(2, 8, 8, 1\), got uint8 \(2, 9, 9, 1\)$",
    ),
    "golden samples that do not unpack": (
        lambda f: spoil_deflated(f / "golden.npz"),
        r"golden\.npz: (holds no golden samples|refused, .*): Error -3 while decompressing data: \w[\w ]+$",
    ),
    "scores that are words": (
        lambda f: edit_golden(f, lambda a: a.update(scores=a["scores"].astype(str))),
        r"golden\.npz: scores: must be floating-point numbers of shape \(\d+, 4\), got <U32 \(\d+, 4\)$",
    ),
    "scores that are no numbers": (
        lambda f: edit_golden(f, lambda a: a.update(scores=a["scores"] * np.nan)),
        r"golden\.npz: scores: must be finite, is not$",
    ),
    "a label that the model has not": (
        lambda f: edit_golden(f, lambda a: a.update(y=a["y"] + 1)),
        r"golden\.npz: y: holds a label that the model has not$",
    ),
    "golden samples without labels": (
        lambda f: edit_golden(f, lambda a: a.pop("y")),
        r"golden\.npz: holds no golden samples: has no y$",
    ),
    "a class name in the asset": (
        lambda f: (f / "assets" / "class_names.txt").write_text("zero\none\ntwo\nfour\n"),
        r"assets/class_names\.txt: are not the class names that manifest\.json has$",
    ),
    "class names everywhere but in the graph": (
        lambda f: (
            edit_manifest(f, lambda m: m.update(class_names=["Zero", "One", "Two", "Three"])),
            (f / "assets" / "class_names.txt").write_text("Zero\nOne\nTwo\nThree\n"),
        ),
        r"holds the class names \['zero', .*\], not \['Zero', 'One', 'Two', 'Three'\]$",
    ),
    "a signature": (
        lambda f: edit_manifest(f, lambda m: m["signatures"]["scores"]["outputs"]["scores"].update(dtype="float16")),
        r"saved_model\.pb: signature scores: is not what manifest\.json says$",
    ),
    "the accuracy": (
        lambda f: edit_manifest(f, lambda m: m["formats"]["tf_saved_model"]["golden"].update(accuracy=0.01)),
        r"tf_saved_model: accuracy [\d.]+ on golden\.npz, manifest\.json says 0\.01$",
    ),
    "an unknown format": (
        lambda f: edit_manifest(f, lambda m: m["formats"].update(xx=m["formats"]["tf_saved_model"])),
        r"manifest\.json: formats: unknown: 'xx'$",
    ),
    "a format without its file": (
        lambda f: edit_manifest(f, lambda m: m["formats"].update(onnx=m["formats"]["tf_saved_model"])),
        r"manifest\.json: formats: onnx: must have model\.onnx$",
    ),
    "a file that it has not": (
        lambda f: edit_manifest(f, lambda m: m["formats"]["tf_saved_model"].update(files=["../best.keras"])),
        r"manifest\.json: formats: tf_saved_model: \.\./best\.keras is not there$",
    ),
    "the size of a format": (
        lambda f: edit_manifest(f, lambda m: m["formats"]["tf_saved_model"].update(bytes=5)),
        r"manifest\.json: formats: tf_saved_model: says 5 bytes, its files have [\d,]+$",
    ),
    "the number of golden samples": (
        lambda f: edit_manifest(f, lambda m: m.update(golden_images=5)),
        r"manifest\.json: says 5 golden images, golden\.npz has \d+$",
    ),
    "a link": (
        lambda f: (f / "a").symlink_to("/etc/passwd"),
        r"1/a: refused, nothing of it was loaded: is a symbolic link",
    ),
    "a pickle": (lambda f: (f / "a.pkl").write_bytes(b"x"), r"a\.pkl: refused, .*: does not belong into an export"),
    "a graph that is none": (
        lambda f: (f / "saved_model.pb").write_bytes(b"no"),
        r"saved_model\.pb: refused, .*: is no SavedModel",
    ),
    "other weights": (
        lambda f: shutil.copytree(other_model(f), f / "variables", dirs_exist_ok=True),
        r"image \d+ of golden\.npz: a score differs by 0\.\d+, allowed are 1e-05$",
    ),
}


def test_what_file_managers_leave_behind_is_noted(folder):
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "assets" / "._class_names.txt").write_bytes(b"x")
    steps = {step.name: step.text for step in verification.check_files(folder)}
    assert steps["container"].endswith("; passed over, not read: .DS_Store, assets/._class_names.txt")


def test_an_export_in_a_volume_is_verified(folder):
    volume = as_a_volume(folder)
    assert [step.status for step in verification.check_files(volume)] == ["passed"] * 4


def other_model(folder: Path) -> Path:
    """Weights of the same network, initialised by another seed."""
    best = keras.saving.load_model(folder.parent / "best.keras", compile=False)
    best.set_weights([weight + 0.1 for weight in best.get_weights()])
    saved_model.write(source("multiclass", best), folder.parent / "other")
    return folder.parent / "other" / "variables"


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=pytest.mark.slow) if what in READ_FIRST else what for what in SPOILT]
)
def test_what_is_spoilt_and_sealed_again_is_still_found(run, folder, what):
    shutil.copy(run.best_model, folder.parent)
    spoil, message = SPOILT[what]
    spoil(folder)
    if not (folder / "a").is_symlink():
        checksums.write(folder)
    with pytest.raises(VerificationError, match=message):
        verified(folder)


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Other bytes in some places, some bytes left out, or some twice."""
    found = bytearray(content)
    places = random.integers(len(found), size=random.choice([1, 20]))
    match random.integers(3):
        case 0:
            for place in places:
                found[place] = random.choice([0, 127, 128, 255, random.integers(256)])
        case 1:
            del found[places[0] : places[0] + random.choice([1, 1000])]
        case 2:
            found[places[0] : places[0]] = found[places[0] :][:1000]
    return bytes(found)


@pytest.mark.slow
def test_whatever_bytes_turn_into_the_answer_is_one_line(run, folder, monkeypatch):
    """Damage under new checksums, before the readers, which are processes of their own: they may fail as they like."""

    class Reached(Exception):
        pass

    def reached(*_, **__):
        raise Reached

    monkeypatch.setattr(verification, "Readers", reached)
    shutil.copy(run.best_model, folder / "model.keras")
    source = next(exports.sources())
    for name in ("litert", "onnx"):
        if not FORMATS[name].missing_for_export:
            FORMATS[name].write(source, folder)
    random, refused = np.random.default_rng(0), set()
    for name in sorted(names(folder) - {"SHA256SUMS"}):
        content = (folder / name).read_bytes()
        for _ in range(25):
            (folder / name).write_bytes(damaged(content, random))
            checksums.write(folder)
            try:
                verified(folder)
            except Reached:
                pass
            except VerificationError as error:
                assert "\n" not in str(error) and len(str(error)) < 500
                refused.add(name)
        (folder / name).write_bytes(content)
    assert refused == names(folder) - {"SHA256SUMS", "latency.json", "model_card.md"}  # the last two are for people


UNSEALED = {
    "a stray file": (
        lambda f: (f / "a.txt").write_text("a"),
        r"a\.txt: refused, .*: does not belong into an export",
    ),
    "a missing file": (
        lambda f: (f / "golden.npz").unlink(),
        r"golden\.npz: is listed in SHA256SUMS, but is not there$",
    ),
    "no list": (
        lambda f: (f / "SHA256SUMS").unlink(),
        r"SHA256SUMS: is missing, so nothing says what the files have to",
    ),
    "a list without an end": (
        lambda f: (f / "SHA256SUMS").write_text((f / "SHA256SUMS").read_text()[:-1]),
        r"SHA256SUMS: must end with a line break$",
    ),
    "a list that is too long": (
        lambda f: (f / "SHA256SUMS").write_bytes(b"x" * (2**20 + 1)),
        r"SHA256SUMS: refused, .*: must have at most 1 MiB",
    ),
    "a line that is none": (
        lambda f: (f / "SHA256SUMS").write_text("abc\n"),
        r"SHA256SUMS: line 1: must be a sha256 and a file of its own, got 'abc'$",
    ),
}


@pytest.mark.parametrize("what", UNSEALED)
def test_a_list_that_does_not_fit_is_found(folder, what):
    spoil, message = UNSEALED[what]
    spoil(folder)
    with pytest.raises(VerificationError, match=message):
        verified(folder)


def test_folders_that_are_no_exports_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"nothing: no such folder$"):
        verified(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"has no manifest\.json: not an export; cnn-tuner export makes a new one$"):
        verified(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(UsageError, match=r"has no manifest\.json: an export of an earlier version; cnn-tuner export"):
        verified(tmp_path)


MANIFESTS = {
    "no JSON": ("{", r"manifest\.json: the file: Invalid JSON: .*"),
    "another format": ('{"format": 2}', r"manifest\.json: format: Input should be 1 \(and \d+ more\)$"),
    "not an object": ("[]", r"manifest\.json: the file: Input should be an object$"),
    "nested deeply": ("[" * 100_000, r"manifest\.json: .*"),
    "too large": (" " * (4 * 2**20 + 1), r"manifest\.json: must be at most 4,194,304 bytes, is 4,194,305$"),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_manifest_that_is_none_is_one_line(tmp_path, what):
    text, message = MANIFESTS[what]
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(VerificationError, match=message) as error:
        manifest.read(tmp_path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.slow
def test_a_missing_reader_is_skipped_and_never_passed(folder, monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    (folder / "model.onnx").write_bytes(b"x")
    entry = {"files": ["model.onnx"], "bytes": 1, "test": {}, "golden": {}}
    edit_manifest(folder, lambda m: m["formats"].update(onnx=entry))
    checksums.write(folder)
    [step] = [step for step in verified(folder) if step.name == "onnx"]
    assert (step.status, step.text) == ("skipped", "onnxruntime, onnx are missing: pip install 'cnn-tuner[onnx]'")


@pytest.mark.slow
def test_the_command_prints_each_step_and_ends_with_4_when_one_fails(folder, cnn_tuner):
    code, out, _ = cnn_tuner("verify", folder)
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[:3]] == [
        ["container", "passed"],
        ["checksums", "passed"],
        ["graph", "passed"],
    ]
    assert out.splitlines()[-1] == f"verified        {folder}"
    (folder / "golden.npz").write_bytes(b"")
    code, out, err = cnn_tuner("verify", folder, "--json")
    assert (code, err.count("\n")) == (4, 1)
    assert "golden.npz: refused, nothing of it was loaded: is no archive of arrays" in err
    assert json.loads(out)["exit_code"] == 4


# Formats


def test_every_format_is_named_where_people_look():
    [option] = [each for each in typer.main.get_command(cli.app).commands["export"].params if each.name == "formats"]
    told = (Path(__file__).parents[2] / "docs" / "exports.md").read_text()
    for name in FORMATS:
        assert f"| `{name}`" in told
        assert name in option.help or name == "tf_saved_model"


def test_formats_are_chosen_by_name_and_the_saved_model_is_always_one(monkeypatch):
    assert registry.choose("tf_saved_model") == ("tf_saved_model",)
    assert registry.choose("keras") == registry.choose("tf_saved_model, keras") == ("tf_saved_model", "keras")
    with pytest.raises(UsageError, match=r"^--format: unknown: 'h5'; choices: tf_saved_model, keras, .*, onnx$"):
        registry.choose("h5")
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    text = r"^--format onnx: onnxruntime, onnx, tf2onnx are missing: pip install 'cnn-tuner\[onnx\]'$"
    with pytest.raises(UsageError, match=text):
        registry.choose("keras,onnx")
    with pytest.raises(
        UsageError, match=r"^--format litert: ai_edge_litert is missing: pip install 'cnn-tuner\[litert\]'"
    ):
        registry.choose("litert")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "tf_saved_model"])
def test_every_format_is_exported_and_verified(run, name):
    if FORMATS[name].missing_for_export:
        pytest.skip(FORMATS[name].missing_for_export)
    exported = winner.export(run, load_data(run), Silent(), ("tf_saved_model", name))
    try:
        found = manifest.read(exported.path)
        assert found.formats[name].files == (FORMATS[name].path,)
        assert [step.status for step in verified(exported.path)] == ["passed"] * 7
        assert exported.differences["tf_saved_model"] <= 1e-6
        if FORMATS[name].is_exact:
            assert exported.differences[name] <= 1e-5
        said = subprocess.run(
            [sys.executable, "-c", loading(name, run.config.data, str(exported.path / FORMATS[name].path))],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        scores = keras.saving.load_model(run.best_model, compile=False).predict_on_batch(np.zeros((1, 8, 8, 1)))
        numbers = [float(number) for number in re.findall(r"\d\.\d*(?:e-\d+)?", said)]
        np.testing.assert_allclose(numbers, scores[0], rtol=0, atol=1e-5 if FORMATS[name].is_exact else 0.05)
        accuracy = found.formats[name].test["accuracy"]
        assert accuracy == pytest.approx(run.winner().test["accuracy"], abs=0.02)
        content = exported.path / FORMATS[name].path
        content.write_bytes(content.read_bytes()[:-100])
        checksums.write(exported.path)
        with pytest.raises(VerificationError, match=r"a new process cannot read it: |model\w*\.\w+: refused"):
            verified(exported.path)
    finally:
        shutil.rmtree(exported.path)


OPENVINO = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = sys.modules["cnn_tuner"] = None
sys.modules["openvino_telemetry"] = None  # nothing here may speak to the network; openvino goes on without it
import numpy as np, openvino
model = openvino.Core().read_model(sys.argv[1])
compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
found = compiled({0: np.load(sys.argv[2])})
np.save(sys.argv[3], found["probabilities"])
"""


@pytest.mark.slow
def test_openvino_reads_the_saved_model_without_tensorflow(run, tmp_path):
    samples = golden.read(run.latest_export(), "multiclass", NAMES["multiclass"], (8, 8, 1))
    np.save(tmp_path / "images.npy", samples.images)
    files = [str(run.latest_export()), str(tmp_path / "images.npy"), str(tmp_path / "found.npy")]
    subprocess.run([sys.executable, "-I", "-c", OPENVINO, *files], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), samples.scores, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["binary", "multilabel", "regression"])
def test_every_task_is_exported_in_every_format_that_can_be_had(task, tmp_path):
    request = replace(write_request(tmp_path, task), max_trials=1, epochs=4, final_epochs=16)
    made = RunStore.open(tuned(request).folder)
    chosen = tuple(name for name, each in FORMATS.items() if not each.missing_for_export)
    exported = winner.export(made, load_data(made), Silent(), chosen)
    steps = verified(exported.path)
    assert {step.name for step in steps} >= set(chosen)
    assert {step.status for step in steps} == {"passed"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["litert", "litert_int8", "onnx"])
def test_formats_are_the_same_bytes_in_every_process(run, tmp_path, name):
    if FORMATS[name].missing_for_export:
        pytest.skip(FORMATS[name].missing_for_export)
    code = (
        "import sys, keras, numpy as np\n"
        "from pathlib import Path\n"
        "from cnn_tuner.export.formats.registry import FORMATS, Source\n"
        "best = Path(sys.argv[1])\n"
        "images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)\n"
        "model = keras.saving.load_model(best, compile=False)\n"
        "source = Source(model, 'multiclass', ('a', 'b', 'c', 'd'), images, best)\n"
        "FORMATS[sys.argv[2]].write(source, Path(sys.argv[3]))"
    )
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        command = [sys.executable, "-c", code, run.best_model, name, tmp_path / seed]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": seed})
    assert digest(tmp_path / "1") == digest(tmp_path / "2")


def test_an_export_of_an_earlier_version_is_still_served(run, folder):
    from cnn_tuner.export.served import Served

    for name in PAPERS:
        (folder / name).unlink()
    assert Served(folder).class_names == NAMES["multiclass"]


def digest(folder: Path) -> str:
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in sorted(names(folder)))).hexdigest()


@pytest.mark.parametrize("task", [later("binary"), "multilabel", later("regression")])
def test_every_task_has_the_same_bytes_twice(task, tmp_path):
    for number in ("1", "2"):
        saved_model.write(source(task, built(task)), tmp_path / number)
    assert digest(tmp_path / "1") == digest(tmp_path / "2")
