"""Balanced accuracy and macro F1 as Keras metrics, for searches in which each class counts alike."""

from __future__ import annotations

from typing import Any

import keras

from cnn_tuner.metrics.scores import THRESHOLD
from cnn_tuner.metrics.tasks import Output


class ClassMetric(keras.metrics.Metric):
    """`scores.balanced_accuracy` or `scores.macro_f1`, over all batches of an epoch; of a binary or multiclass task."""

    def __init__(self, name: str, output: Output) -> None:
        super().__init__(name=name)
        self.is_binary, self.classes = output.task == "binary", 2 if output.task == "binary" else output.units
        self.images, self.predicted, self.right = (
            self.add_weight(shape=(self.classes,), initializer="zeros", name=f"{name}_{each}")
            for each in ("images", "predicted", "right")
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in a batch; weights of images change nothing."""
        ops = keras.ops
        truth = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        answers = ops.reshape(y_pred, (-1,)) > THRESHOLD if self.is_binary else ops.argmax(y_pred, axis=-1)
        is_class, is_taken = (ops.one_hot(ops.cast(each, "int32"), self.classes) for each in (truth, answers))
        for counted, batch in (
            (self.images, is_class),
            (self.predicted, is_taken),
            (self.right, is_class * is_taken),
        ):
            counted.assign_add(ops.sum(batch, axis=0))

    def result(self) -> Any:
        """The metric of what was taken in."""
        part, whole = self.right, self.images
        if self.name == "macro_f1":
            part, whole = 2 * self.right, self.images + self.predicted
        ops = keras.ops
        shares = ops.where(whole > 0, part / ops.maximum(whole, 1.0), 0.0)
        return ops.sum(shares) / ops.maximum(ops.sum(ops.cast(whole > 0, "float32")), 1.0)
