"""A Keras model as a SavedModel that needs nothing of this package, nor Keras, to be served.

A plain module with each weight once: `model.export` stores weights twice and keeps dropout and augmentation in their
training mode. Class names are constants in the graph: a hash table would not load in every reader.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from cnn_tuner.export.formats.registry import Source
from cnn_tuner.export.graph import canonical, resampling, warm_up
from cnn_tuner.metrics import calibration
from cnn_tuner.metrics.scores import THRESHOLD

CLASS_NAMES = "class_names.txt"  # in assets/, a name a line
DECODED_AT_ONCE = 2  # files of a batch: each may take 1.2 GB, and ten at once are a fifth faster only

Tensors = dict[str, tf.Tensor]


def _answers(task: str, class_names: tuple[str, ...], temperature: float) -> Callable[[tf.Tensor], Tensors]:
    """What `serving_default` says of a batch of raw scores, (N, units); decisions are those of the raw scores."""
    names = tf.constant(class_names)

    def multiclass(scores: tf.Tensor) -> Tensors:
        best, probabilities = tf.argmax(scores, axis=1), _tempered(scores, temperature, is_one_of_all=True)
        return {
            "class": tf.gather(names, best),
            "probability": tf.reduce_max(probabilities, axis=1),
            "probabilities": probabilities,
        }

    def binary(scores: tf.Tensor) -> Tensors:
        probability = _tempered(scores, temperature)
        both = tf.concat([1.0 - probability, probability], axis=1)
        decided = tf.cast(scores[:, 0] > THRESHOLD, tf.int64)
        return {
            "class": tf.gather(names, decided),
            "probability": tf.reduce_max(both, axis=1),
            "probabilities": both,
        }

    def multilabel(scores: tf.Tensor) -> Tensors:
        return {"is_present": scores > THRESHOLD, "probabilities": _tempered(scores, temperature)}

    def regression(scores: tf.Tensor) -> Tensors:
        return {"values": scores}

    answers = {"multiclass": multiclass, "binary": binary, "multilabel": multilabel, "regression": regression}
    return answers[task]


def _tempered(scores: tf.Tensor, temperature: float, is_one_of_all: bool = False) -> tf.Tensor:
    """As `cnn_tuner.metrics.calibration.tempered`."""
    if temperature == 1.0:
        return scores
    clipped = tf.clip_by_value(scores, calibration.TINY, 1 - calibration.TINY)
    if is_one_of_all:
        return tf.nn.softmax(tf.math.log(clipped) / temperature)
    return tf.sigmoid((tf.math.log(clipped) - tf.math.log1p(-clipped)) / temperature)


def _module(source: Source, names_file: Path) -> tuple[tf.Module, dict[str, object]]:
    """The module to save, and its signatures. The Keras model stays out of it: only its variables are tracked."""
    model, class_names = source.model, source.class_names
    module = tf.Module(name="cnn")
    module.weights = [weight.value for weight in model.weights]
    module.class_names_file = tf.saved_model.Asset(str(names_file))
    answer = _answers(source.task, class_names, source.temperature)
    shape = tuple(model.input_shape[1:])
    image = tf.TensorSpec((None, *shape), tf.uint8, name="image")

    # Without AutoGraph, as Keras calls a model: no `if` here is about a tensor, and to translate all takes seconds.
    @tf.function(input_signature=[image], autograph=False)
    def serving_default(image: tf.Tensor) -> Tensors:
        return answer(model(image, training=False))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")], autograph=False)
    def serving_bytes(image_bytes: tf.Tensor) -> Tensors:
        pixels = tf.TensorSpec(shape, tf.uint8)
        images = tf.map_fn(
            lambda each: resampling.decode(each, shape, source.fit),
            image_bytes,
            DECODED_AT_ONCE,
            fn_output_signature=pixels,
        )
        return answer(model(images, training=False))

    @tf.function(input_signature=[image], autograph=False)
    def scores(image: tf.Tensor) -> Tensors:
        return {"scores": model(image, training=False)}

    @tf.function(input_signature=[], autograph=False)
    def labels() -> Tensors:
        return {"class_names": tf.constant(class_names)}

    signatures = {
        "serving_default": serving_default,
        "serving_bytes": serving_bytes,
        "scores": scores,
        "labels": labels,
    }
    return module, signatures


def write(source: Source, folder: Path) -> None:
    """Writes the SavedModel into `folder`, which is made. The same model gives the same bytes.

    Signatures, of N > 0 images:
        serving_default: `image` (N, H, W, C) uint8 to `class`, `probability`, `probabilities` (binary, multiclass: of
            both or all classes); `is_present`, `probabilities` (multilabel); `values` (regression). Probabilities are
            tempered by the source's temperature.
        serving_bytes: the same of `image_bytes` (N,), PNG or JPEG files, decoded and resized as for training.
        scores: `image` to `scores`, the last layer's (N, units), numbers only.
        labels: `class_names`, (classes,), without an input.

    Raises:
        OSError: the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="cnn-tuner-") as scratch:
        names_file = Path(scratch) / CLASS_NAMES
        names_file.write_bytes(names_text(source.class_names).encode())
        module, signatures = _module(source, names_file)
        # Gradients that layers such as Keras's silu define are of no use to an export, and no reader takes them.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        try:
            tf.saved_model.save(module, str(folder), signatures=signatures, options=options)
        except tf.errors.ResourceExhaustedError as error:  # TensorFlow's word for a full disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
    canonical.canonicalise(folder)
    warm_up.write(folder, "cnn", tuple(source.model.input_shape[1:]))


def names_text(class_names: tuple[str, ...]) -> str:
    """What `assets/class_names.txt` holds: a name a line."""
    return "".join(f"{' '.join(name.splitlines())}\n" for name in class_names)


def in_float32(model: keras.Model) -> keras.Model:
    """The model computing in float32, whatever it was trained in: other readers have no bfloat16."""
    if all(layer.dtype_policy.compute_dtype == "float32" for layer in model.layers[1:]):
        return model

    def plain(layer: keras.layers.Layer) -> keras.layers.Layer:
        is_input = isinstance(layer, keras.layers.InputLayer)
        return layer.__class__.from_config(layer.get_config() | ({} if is_input else {"dtype": "float32"}))

    copy = keras.models.clone_model(model, clone_function=plain)
    copy.set_weights(model.get_weights())
    return copy


def next_version(model_folder: Path) -> int:
    """The number after the highest version there, from 1 on, as servers count them."""
    taken = [int(path.name) for path in model_folder.glob("*") if path.name.isdigit()]
    return max(taken, default=0) + 1


def publish(aside: Path, model_folder: Path) -> Path:
    """Moves a finished folder to the next version of `model_folder`, in one step: servers never see half of it."""
    for path in aside.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    version = model_folder / str(next_version(model_folder))
    aside.rename(version)
    return version


def discard(aside: Path) -> None:
    """Removes what an unfinished export left."""
    shutil.rmtree(aside, ignore_errors=True)
