"""The signatures of a SavedModel, read from its file without loading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from cnn_tuner.errors import VerificationError
from cnn_tuner.export.manifest import Signature, Tensor

INIT = "__saved_model_init_op"  # TensorFlow's own, in every SavedModel


def read(folder: Path) -> dict[str, Signature]:
    """What each signature of the SavedModel in `folder` takes and gives.

    Raises:
        VerificationError: it holds no single graph for serving.
    """
    file = folder / "saved_model.pb"
    try:
        [graph] = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    except Exception as error:  # protobuf's DecodeError has no public place of its own
        raise VerificationError(f"{file}: is no SavedModel of one graph") from error
    return {
        name: Signature(inputs=_tensors(found.inputs), outputs=_tensors(found.outputs))
        for name, found in sorted(graph.signature_def.items())
        if name != INIT
    }


def _tensors(found: Any) -> dict[str, Tensor]:
    return {name: _tensor(found[name]) for name in sorted(found)}


def _tensor(info: Any) -> Tensor:
    sizes = tuple(None if side.size < 0 else int(side.size) for side in info.tensor_shape.dim)
    return Tensor(dtype=tf.dtypes.as_dtype(info.dtype).name, shape=sizes)
