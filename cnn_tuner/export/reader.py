"""Reads an export in a new process and writes what it predicts. Run as a file, so that nothing of cnn_tuner is there.

python -I reader.py FORMAT

FORMAT is a name of `formats.FORMATS`. It waits for a line with [FILE, IMAGES.npy, ANSWERS.npz] as JSON. When the
answers are written, it prints a line and waits for another one: `time` has it measure how long 1 and 64 images take,
alone on the machine, and print that as JSON.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDING = 1e-5  # of an answer, for numbers around 1
BATCH = 256
CALLS = {1: 50, 64: 10}  # how often each number of images is timed
Answers = dict[str, Any]
Call = Callable[[Any], Any]  # images to scores


def batches(images: Any) -> list[Any]:
    """The images in batches of 1, of 3 and of the rest."""
    places = [0, *[at for at in (1, 4) if at < len(images)], *range(4 + BATCH, len(images), BATCH), len(images)]
    return [images[a:b] for a, b in itertools.pairwise(places)]


def require(is_met: Any, text: str) -> None:
    """Ends with a line that says what is wrong with the export."""
    if not is_met:
        sys.exit(text)


def scored(call: Call, images: Any) -> Any:
    """The scores of all images, and the certainty that the same question gets the same answer."""
    import numpy as np

    answers = [call(batch) for batch in batches(images)]
    require(np.array_equal(answers[-1], call(batches(images)[-1]), equal_nan=True), "asked twice, it gives two answers")
    return np.concatenate(answers)


def hide(*packages: str) -> None:
    """Has importing them fail."""
    sys.modules.update(dict.fromkeys(packages))  # type: ignore[arg-type]


def load_tensorflow() -> None:
    """Without Keras, whose code a SavedModel must not need."""
    hide("cnn_tuner", "keras")
    import tensorflow  # noqa: F401


def load_keras() -> None:
    """Without what it loads where that is there, and reading a model needs nothing of."""
    hide("cnn_tuner", "matplotlib", "pandas", "sklearn")
    import keras  # noqa: F401


def read_saved_model(folder: str, images: Any) -> tuple[Answers, Call]:
    """The `scores` and the class names of a SavedModel, by TensorFlow alone."""
    import numpy as np
    import tensorflow as tf

    signatures = tf.saved_model.load(folder).signatures

    def call(batch: Any) -> Any:
        return signatures["scores"](image=tf.constant(batch))["scores"].numpy()

    answers = [signatures["serving_default"](image=tf.constant(batch)) for batch in batches(images)]
    again = signatures["serving_default"](image=tf.constant(batches(images)[-1]))
    require(is_same(again, answers[-1]), "serving_default: asked twice, it gives two answers")
    names = signatures["labels"]()["class_names"].numpy()
    found = {"scores": scored(call, images), "class_names": np.array([name.decode() for name in names])}
    if "class" in answers[0]:
        found["classes"] = np.concatenate([[name.decode() for name in a["class"].numpy()] for a in answers])
    if "serving_bytes" in signatures:
        check_files(signatures, images[:3])
        if images.shape[-1] in (1, 3) and turns_jpegs(folder):
            check_orientations(signatures, images[0])
    return found, call


def turns_jpegs(folder: str) -> bool:
    """Whether an export says so, or is being made and says nothing yet."""
    manifest = Path(folder) / "manifest.json"
    return not manifest.is_file() or bool(json.loads(manifest.read_bytes()).get("turns_jpegs"))


def is_same(one: Answers, other: Answers) -> bool:
    """Whether two answers of TensorFlow are equal in every output, numbers but for how they are rounded.

    Several threads add up what a large network calculates in whatever order they come to it.
    """
    return one.keys() == other.keys() and all(are_same(one[name].numpy(), other[name].numpy()) for name in one)


def are_same(one: Any, other: Any) -> bool:
    """The same of one output."""
    if one.dtype.kind != "f":
        return bool((one == other).all())
    return bool((abs(one - other) <= ROUNDING * (1 + abs(one))).all())


def check_files(signatures: Any, images: Any) -> None:
    """PNGs of images get the answers of their pixels, each time, and what is no image gets none."""
    import tensorflow as tf

    serve_files = signatures["serving_bytes"]
    # TensorFlow writes no PNG of grey and alpha: such an image goes as one of three equal colours and alpha.
    written = tf.gather(images, [0, 0, 0, 1], axis=3) if images.shape[-1] == 2 else images
    files = tf.stack([tf.io.encode_png(image) for image in written])
    by_file = serve_files(image_bytes=files)
    by_pixels = signatures["serving_default"](image=tf.constant(images))
    require(is_same(by_file, by_pixels), "serving_bytes: a PNG gets another answer than its pixels")
    require(is_same(by_file, serve_files(image_bytes=files)), "serving_bytes: asked twice, it gives two answers")
    try:
        serve_files(image_bytes=tf.constant([b"no image"]))
    except tf.errors.InvalidArgumentError:
        return
    require(False, "serving_bytes: answers to bytes that are no image")


def check_orientations(signatures: Any, image: Any) -> None:
    """JPEGs of each way to hold a camera get the answers of the upright image."""
    import tensorflow as tf

    for value in range(1, 9):
        stored = image[::-1] if value in (3, 4, 7, 8) else image
        stored = stored[:, ::-1] if value in (2, 3, 6, 7) else stored
        stored = stored.swapaxes(0, 1) if value >= 5 else stored
        jpeg = tf.io.encode_jpeg(stored, quality=95)
        seen = tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE").numpy()[..., : image.shape[-1]]
        seen = seen.swapaxes(0, 1) if value >= 5 else seen
        seen = seen[:, ::-1] if value in (2, 3, 6, 7) else seen
        seen = seen[::-1] if value in (3, 4, 7, 8) else seen
        by_file = signatures["serving_bytes"](image_bytes=tf.constant([oriented(jpeg.numpy(), value)]))
        by_pixels = signatures["serving_default"](image=tf.constant(seen[None]))
        require(is_same(by_file, by_pixels), f"serving_bytes: a JPEG of orientation {value} is not turned upright")


def oriented(jpeg: bytes, value: int) -> bytes:
    """A JPEG with EXIF data that says how the camera was held."""
    tiff = struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, 0x0112, 3, 1, value, 0, 0)
    exif = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + jpeg[2:]


def read_keras(file: str, images: Any) -> tuple[Answers, Call]:
    """The scores of a .keras file, by Keras, with code from the file refused."""
    import keras

    model = keras.saving.load_model(file, compile=False, safe_mode=True)
    return {"scores": model.predict(images, batch_size=BATCH, verbose=0)}, model.predict_on_batch


def read_litert(file: str, images: Any) -> tuple[Answers, Call]:
    """The scores of a .tflite file, by LiteRT without TensorFlow; whole numbers are multiplied by their scale."""
    hide("tensorflow", "keras", "cnn_tuner")
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(file)
    [given], [answer] = interpreter.get_input_details(), interpreter.get_output_details()
    require(given["dtype"] == np.uint8, f"takes {given['dtype'].__name__}, not uint8")
    (scale, zero), (in_scale, in_zero) = answer["quantization"], given["quantization"]
    if in_scale:
        require(in_zero == 0 and abs(in_scale - 1) < 1e-3, f"a step of its input is {in_scale:.4g} grey levels, not 1")

    def call(batch: Any) -> Any:
        if tuple(interpreter.get_input_details()[0]["shape"]) != batch.shape:
            interpreter.resize_tensor_input(given["index"], batch.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], batch)
        interpreter.invoke()
        found = interpreter.get_tensor(answer["index"])
        return (found.astype(np.float32) - zero) * np.float32(scale) if scale else found

    interpreter.allocate_tensors()
    return {"scores": scored(call, images)}, call


def read_onnx(file: str, images: Any) -> tuple[Answers, Call]:
    """The scores of an ONNX file, by ONNX Runtime without TensorFlow."""
    hide("tensorflow", "keras", "cnn_tuner")
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    [given] = session.get_inputs()

    def call(batch: Any) -> Any:
        return session.run(["scores"], {given.name: batch})[0]

    return {"scores": scored(call, images)}, call


READERS = {
    "tf_saved_model": read_saved_model,
    "keras": read_keras,
    "litert": read_litert,
    "litert_int8": read_litert,
    "onnx": read_onnx,
}
LOADERS = {"tf_saved_model": load_tensorflow, "keras": load_keras}  # what takes long to load, while there is time


def latencies(call: Call, images: Any) -> dict[int, float]:
    """The median seconds of a call, by its number of images."""
    import numpy as np

    found = {}
    for count, calls in CALLS.items():
        batch = np.ascontiguousarray(images[np.arange(count) % len(images)])
        seconds = []
        for _ in range(3 + calls):
            began = time.perf_counter()
            call(batch)
            seconds.append(time.perf_counter() - began)
        found[count] = statistics.median(seconds[3:])
    return found


def be_the_first_to_go() -> None:
    """Has the kernel end this process, and no other, when the model of somebody else takes all memory (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def main(kind: str) -> None:
    """Reads, predicts, writes; then times, when told to."""
    be_the_first_to_go()
    if kind in LOADERS:
        LOADERS[kind]()
    import numpy as np

    asked = sys.stdin.readline()
    if not asked:  # whoever began this is gone
        return
    path, images_file, answers_file = json.loads(asked)
    images = np.load(images_file, allow_pickle=False)
    answers, call = READERS[kind](path, images)
    np.savez(answers_file, **answers)
    print("answered", flush=True)
    if sys.stdin.readline() == "time\n":
        print(json.dumps(latencies(call, images)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
