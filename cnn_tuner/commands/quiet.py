"""TensorFlow, loaded without its chatter, unless --debug asks for it."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager

from cnn_tuner.api import loading


def quiet_tensorflow() -> AbstractContextManager[None]:
    """See `cnn_tuner.api.loading`."""
    return loading.quiet_tensorflow(is_debug="--debug" in sys.argv)
