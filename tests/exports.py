"""Small exports of every task, untrained, and hostile ones made of them."""

from __future__ import annotations

import atexit
import functools
import itertools
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from toys import NAMES, toy_space

from cnn_tuner.errors import InfeasibleError
from cnn_tuner.export.formats import saved_model
from cnn_tuner.export.formats.registry import Source
from cnn_tuner.export.served import Served
from cnn_tuner.metrics.tasks import Output
from cnn_tuner.models import builder
from cnn_tuner.spaces import architecture

POINT = next(p for p in toy_space("description: x\nblock: {filters: 2, dropout: 0.5}\ndense: {units: 4}").points())


def network(task: str = "multiclass", point: dict[str, Any] = POINT, shape=(8, 8, 1)) -> keras.Model:
    units = 1 if task == "binary" else len(NAMES[task])
    scale = {"scale": (50.0,), "offset": (175.0,)} if task == "regression" else {}
    return builder.build(architecture.build(point, shape, Output(task, units, **scale)), seed=3)


def write(folder: Path, task: str = "multiclass", live: keras.Model | None = None) -> Path:
    """An export of a task in `folder`; that of no network in particular is made once."""
    if live is None:
        return shutil.copytree(kept(task), folder, dirs_exist_ok=True)
    nothing = np.zeros((0, *live.input_shape[1:]), np.uint8)
    saved_model.write(Source(live, task, NAMES[task], nothing, folder / "unused.keras"), folder)
    return folder


def kept(task: str = "multiclass") -> Path:
    """One of a task for all tests, which leave it as it is."""
    return _kept(task)


def served(task: str = "multiclass") -> Served:
    """The same, loaded once: that takes seconds."""
    return _served(task)


@functools.cache  # here, where a task is always given, and not above
def _kept(task: str) -> Path:
    made = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, made)
    return write(Path(made).resolve() / "1", task, network(task))


@functools.cache
def _served(task: str) -> Served:
    return Served(_kept(task))


def changed(export: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    """A copy of an export whose one graph (a MetaGraphDef) was changed."""
    shutil.copytree(export, folder)
    file = folder / "saved_model.pb"
    found = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(found.meta_graphs[0])
    file.write_bytes(found.SerializeToString())
    return folder


def with_answer(folder: Path, answer: Callable[[tf.Tensor], tf.Tensor]) -> Path:
    """An export that answers by TensorFlow's `answer`, an operation of which is hostile."""
    module = tf.Module()
    image = tf.TensorSpec((None, 8, 8, 1), tf.uint8, name="image")

    @tf.function(input_signature=[image], autograph=False)
    def serving_default(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"values": answer(tf.cast(image, tf.float32))}

    @tf.function(input_signature=[])
    def labels() -> dict[str, tf.Tensor]:
        return {"class_names": tf.constant(["brightness"])}

    signatures = {"serving_default": serving_default, "scores": serving_default, "labels": labels}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def images(count: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)


OPTIONS = """
description: Every option that changes the operations of a graph.
blocks: [1, 2]
block: {convolutions: [1, 2], filters: 2, strides: [1, 2], padding: [same, valid], pool_size: [1, 2], dropout: [0, 0.5]}
dense: {layers: [0, 2], units: 4, dropout: 0.2}
"""


def sources() -> Iterator[Source]:
    """Networks of every task, with images of several shapes and options drawn from all there are."""
    points = random.Random(0).sample(list(toy_space(OPTIONS).points()), 30)
    shapes = [(8, 8, 1), (15, 12, 3), (28, 28, 4)]
    feasible = [(point, shape) for point, shape in zip(points, itertools.cycle(shapes)) if fits(point, shape)]
    others = itertools.cycle([(1.0, "stretch"), (0.7, "pad"), (1.9, "crop")])
    for (point, shape), task, (temperature, fit) in zip(feasible[:8], itertools.cycle(NAMES), others):
        calibration = np.random.default_rng(0).integers(0, 256, (20, *shape), dtype=np.uint8)
        live = network(task, point, shape)
        yield Source(live, task, NAMES[task], calibration, Path("unused.keras"), temperature, fit)


def fits(point: dict[str, Any], shape: tuple[int, ...]) -> bool:
    try:
        architecture.build(point, shape, Output("binary", 1))
    except InfeasibleError:
        return False
    return True
