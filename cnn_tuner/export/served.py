"""An export as a server sees it: a SavedModel folder and its signatures, read by TensorFlow alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cnn_tuner.errors import UsageError

BATCH = 256


class Served:
    """A SavedModel written by `cnn_tuner.export.saved_model`."""

    def __init__(self, folder: Path) -> None:
        """Loads it.

        Raises:
            UsageError: the folder holds no SavedModel, or not one of ours.
        """
        if not (folder / "saved_model.pb").is_file():
            raise UsageError(f"{folder}: no SavedModel here; name the folder that holds saved_model.pb")
        self._loaded = tf.saved_model.load(str(folder))
        missing = {"serving_default", "scores", "labels"} - set(self._loaded.signatures)
        if missing:
            raise UsageError(f"{folder}: not an export of cnn_tuner, it has no signature {', '.join(sorted(missing))}")
        names = self._loaded.signatures["labels"]()["class_names"].numpy()
        self.class_names = tuple(name.decode() for name in names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the images it takes."""
        spec = self._loaded.signatures["serving_default"].structured_input_signature[1]["image"]
        height, width, channels = spec.shape.as_list()[1:]
        return height, width, channels

    def scores(self, images: np.ndarray) -> np.ndarray:
        """The last layer's (N, units) for images (N, H, W, C) uint8."""
        return self._call("scores", images)["scores"]

    def predict(self, images: np.ndarray) -> list[dict[str, Any]]:
        """A record an image: class and probability, or the labels that are present, or the values."""
        answers = self._call("serving_default", images)
        return [self._record({name: values[i] for name, values in answers.items()}) for i in range(len(images))]

    def _call(self, signature: str, images: np.ndarray) -> dict[str, np.ndarray]:
        if not len(images):
            raise UsageError("no images: a prediction takes one at least")  # oneDNN would fail without saying why
        call = self._loaded.signatures[signature]
        answers = [call(image=tf.constant(images[i : i + BATCH])) for i in range(0, len(images), BATCH)]
        return {name: np.concatenate([answer[name].numpy() for answer in answers]) for name in answers[0]}

    def _record(self, answer: dict[str, Any]) -> dict[str, Any]:
        if "values" in answer:
            return {"values": self._named(answer["values"])}
        if "is_present" in answer:
            present = [
                name for name, is_present in zip(self.class_names, answer["is_present"], strict=True) if is_present
            ]
            return {"labels": present, "probabilities": self._named(answer["probabilities"])}
        return {
            "class": answer["class"].decode(),
            "probability": float(answer["probability"]),
            "probabilities": self._named(answer["probabilities"]),
        }

    def _named(self, numbers: np.ndarray) -> dict[str, float]:
        return {name: float(number) for name, number in zip(self.class_names, numbers, strict=True)}
