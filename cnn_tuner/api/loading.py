"""TensorFlow, loaded without its chatter, and Keras upon it."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from cnn_tuner.errors import UsageError

BACKEND, LOG_LEVEL = "KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL"  # environment variables


@contextmanager
def quiet_tensorflow(is_debug: bool = False) -> Iterator[None]:
    """Keeps what TensorFlow says while it is loaded away from the terminal, unless loading it fails.

    Its C++ part writes to the file descriptor itself, whatever its log level says. With `is_debug` it is heard.

    Raises:
        UsageError: Keras is loaded with another backend.
    """
    choose_backend()
    if "tensorflow" not in sys.modules:
        if is_debug:
            import tensorflow  # noqa: F401  # now, so that what is called inside finds it loaded
        else:
            _load_unheard()
    logger = logging.getLogger("tensorflow")
    before = logger.level
    logger.setLevel(before if is_debug else logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)  # who loaded it themselves may want to hear it


def choose_backend() -> None:
    """Has Keras use TensorFlow, in this process and in those that it starts.

    Raises:
        UsageError: it is loaded with another backend.
    """
    keras = sys.modules.get("keras")
    if keras is not None and (found := keras.config.backend()) != "tensorflow":
        raise UsageError(f"Keras is loaded with the backend {found}: set {BACKEND}=tensorflow before it is imported")
    os.environ[BACKEND] = "tensorflow"


def _load_unheard() -> None:
    os.environ.setdefault(LOG_LEVEL, "2")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as scratch:
        os.dup2(scratch.fileno(), 2)
        try:
            import tensorflow as tf

            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)  # leave room for whoever shares it
            tf.config.list_logical_devices()  # looks for devices now, while it is not heard
        except BaseException:
            scratch.seek(0)
            os.write(kept, scratch.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    tf.get_logger().setLevel("ERROR")
