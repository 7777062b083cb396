"""TensorFlow, loaded without its chatter."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Keeps what TensorFlow says while it is loaded away from the terminal, unless loading it fails.

    Its C++ part writes to the file descriptor itself, whatever its log level says.
    """
    if "--debug" in sys.argv or "tensorflow" in sys.modules:
        yield
        return
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
    yield
