"""What one image takes: measured before a trial begins, and a limit that refuses it."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from toys import toy_part
from training.test_fit import VALUES, job_in, train

from cnn_tuner.models import latency
from cnn_tuner.models.latency import measure_latency
from cnn_tuner.training import fit
from cnn_tuner.training.batches import Data


@pytest.fixture(scope="module")
def data() -> Data:
    return Data(toy_part("multiclass", 96, 0), toy_part("multiclass", 32, 1))


def test_it_is_the_median_of_calls_with_one_image_that_do_not_train(monkeypatch):
    seen, clock = [], iter(np.cumsum([0, 5] * 10 + [0, 1] * 40).tolist())
    inputs = keras.Input((8, 8, 1), dtype="uint8")

    class Probe(keras.layers.Layer):
        def call(self, x, training=None):
            seen.append((tuple(x.shape), training))
            return keras.ops.cast(x, "float32")

    built = keras.Model(inputs, Probe()(inputs))
    seen.clear()
    monkeypatch.setattr(latency.time, "perf_counter", lambda: next(clock))
    assert measure_latency(built) == 1
    assert seen == [((1, 8, 8, 1), False)], "traced once, for one image"


@pytest.mark.slow
def test_a_job_is_measured_only_when_it_is_asked_for(data, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "measure_latency", lambda built: 0.002)
    job = replace(job_in(tmp_path), epochs=1)
    assert train(job, data).latency_seconds is None
    measured = train(replace(job, measures_latency=True, max_latency_seconds=0.002), data)
    assert (measured.status, measured.latency_seconds) == ("completed", 0.002)


@pytest.mark.slow
def test_a_model_over_the_limit_is_not_trained(data, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "measure_latency", lambda built: 0.0031)
    job = replace(job_in(tmp_path), measures_latency=True, max_latency_seconds=0.002)
    result = train(job, data)
    assert (result.status, result.epochs, result.latency_seconds) == ("failed", (), 0.0031)
    assert result.message == "one image takes 3.1 ms, over the limit of 2 ms"


@pytest.mark.slow
def test_it_is_measured_of_the_model_as_it_is_exported(data, tmp_path, monkeypatch):
    kinds = []
    monkeypatch.setattr(fit, "measure_latency", lambda built: kinds.append(built.layers[2].compute_dtype) or 0.1)
    augmented = VALUES | {"flip": "both"}
    job = replace(job_in(tmp_path), values=augmented, epochs=1, precision="bfloat16", measures_latency=True)
    train(job, data)
    assert kinds == ["float32"]
