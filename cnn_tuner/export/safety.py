"""Looks at somebody else's export or `.keras` file before anything loads it: what may run code is refused unread.

Each is to be called before TensorFlow or Keras sees the file, the container's before the graph's. They read what lies
there at that moment: they are no protection from somebody who can still write to the folder.
"""

from __future__ import annotations

from cnn_tuner.export.container import check_container
from cnn_tuner.export.graph import check_graph
from cnn_tuner.export.keras_file import check_keras

__all__ = ["check_container", "check_graph", "check_keras"]
