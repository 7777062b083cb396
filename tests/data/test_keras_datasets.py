"""keras.datasets: from Keras's own cache, and without a network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_helpers import fake_keras, labels, pixels, write_idx

from cnn_tuner.data.class_names import CIFAR10, CIFAR100, DIGITS, FASHION_MNIST
from cnn_tuner.data.keras_datasets import load as load_raw
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.registry import load
from cnn_tuner.errors import DataError

OPTIONS = DataOptions()

LOAD = """
import json, sys
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.registry import load
from cnn_tuner.errors import DataError
cached = load("fashion_mnist", DataOptions())
try:
    load("mnist", DataOptions())
except DataError as error:
    message = str(error)
print(json.dumps([cached.name, cached.image_shape, len(cached.test), cached.fingerprint, message]))
"""


@pytest.mark.slow
def test_a_cached_file_is_used_and_a_failed_download_is_one_line(tmp_path):
    """In a process of its own: Keras reads KERAS_HOME when it is imported, and brings TensorFlow."""
    source = write_idx(tmp_path / "datasets" / "fashion-mnist", side=28)
    nowhere = "http://127.0.0.1:9"
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3", "https_proxy": nowhere}
    environment |= {"HTTPS_PROXY": nowhere, "no_proxy": "", "NO_PROXY": ""}
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    name, image_shape, test, fingerprint, message = json.loads(done.stdout)
    assert (name, image_shape, test) == ("fashion-mnist", [28, 28, 1], 20)
    assert fingerprint == load(source, OPTIONS).fingerprint
    assert message.startswith("mnist: cannot be downloaded or read (URL fetch failure on https://")
    assert message.endswith("or use data that needs no network, as digits or idx:DIR") and "\n" not in message
    assert "Downloading data" in done.stderr


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            Exception("URL fetch failure on https://x: None --\nno route"),
            r"URL fetch failure on https://x: None -- no rou",
        ),
        (EOFError(), "EOFError"),
        (TimeoutError("timed out"), "timed out"),
    ],
)
def test_a_failure_is_one_line(monkeypatch, capsys, error, reason):
    def load_data():
        print("Downloading")
        raise error

    fake_keras(monkeypatch, "mnist", load_data)
    advice = (
        "check the network, delete what is damaged in ~/.keras/datasets, or use data that needs no network, as digits"
    )
    with pytest.raises(DataError, match=rf"^mnist: cannot be downloaded or read \({reason}.*\); {advice} or idx:DIR$"):
        load("mnist", OPTIONS)
    assert capsys.readouterr().out == ""


def test_channels_first_is_undone(monkeypatch):
    x = pixels(60, 32, 32, 3)
    part = (x.transpose(0, 3, 1, 2), labels(60, 10))
    fake_keras(monkeypatch, "cifar10", lambda: (part, part))
    assert (load_raw("cifar10", OPTIONS).train.x == x).all()


def test_class_names():
    for names, count in ((DIGITS, 10), (FASHION_MNIST, 10), (CIFAR10, 10), (CIFAR100, 100)):
        assert len(set(names)) == count
    assert list(CIFAR100) == sorted(CIFAR100)
    assert np.array(CIFAR10)[[0, 9]].tolist() == ["airplane", "truck"]
