"""How long a model takes for one image, measured where it is trained."""

from __future__ import annotations

import statistics
import time

import keras
import numpy as np
import tensorflow as tf

WARM_UP = 5
CALLS = 50


def measure_latency(built: keras.Model) -> float:
    """The median of some calls with one image, in seconds: a traced function, as a SavedModel's signature is one.

    Other workers that train meanwhile make it longer: compare it within a run, and measure the export where it serves.
    """
    shape = (1, *built.input_shape[1:])
    call = tf.function(lambda image: built(image, training=False), input_signature=[tf.TensorSpec(shape, tf.uint8)])
    image = tf.constant(np.zeros(shape, np.uint8))
    for _ in range(WARM_UP):
        call(image)
    seconds = []
    for _ in range(CALLS):
        began = time.perf_counter()
        call(image).numpy()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
