"""An export as a server sees it: a SavedModel folder and its signatures, read by TensorFlow alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cnn_tuner.data.dataset import Images
from cnn_tuner.errors import UsageError, VerificationError
from cnn_tuner.export import manifest
from cnn_tuner.export.checks.shapes import BATCH
from cnn_tuner.export.safety import check_container, check_graph

MAX_SIDE = 4096  # pixels, as for training: images are made of the size that an export asks for


class Served:
    """A SavedModel written by `cnn_tuner.export.formats.saved_model`."""

    def __init__(self, folder: Path) -> None:
        """Loads it, once it is known to hold nothing that could run code or read other files.

        Raises:
            UsageError: the folder holds no SavedModel, or not one of ours.
            VerificationError: it holds what an export must not hold.
        """
        if not (folder / "saved_model.pb").is_file():
            raise UsageError(f"{folder}: no SavedModel here; name the folder that holds saved_model.pb")
        check_container(folder)
        check_graph(folder)
        self._loaded = tf.saved_model.load(str(folder))
        missing = {"serving_default", "scores", "labels"} - set(self._loaded.signatures)
        if missing:
            raise UsageError(f"{folder}: not an export of cnn_tuner, it has no signature {', '.join(sorted(missing))}")
        names = self._loaded.signatures["labels"]()["class_names"].numpy()
        self.class_names = tuple(name.decode() for name in names)
        self.image_shape = self._image_shape(folder)
        # What becomes of image files of another aspect.
        self.fit: str = manifest.read(folder).fit if (folder / manifest.FILE).is_file() else "stretch"

    def _image_shape(self, folder: Path) -> tuple[int, int, int]:
        """(H, W, C) of the images it takes."""
        spec = self._loaded.signatures["serving_default"].structured_input_signature[1].get("image")
        shape = [] if spec is None else spec.shape.as_list()
        if len(shape) != 4 or None in shape[1:] or spec.dtype != tf.uint8:
            raise UsageError(f"{folder}: not an export of cnn_tuner, it takes no images of 8 bit and a fixed size")
        height, width, channels = shape[1:]
        if max(height, width) > MAX_SIDE or not 1 <= channels <= 4:
            raise VerificationError(f"{folder}: refused: it asks for images of {height}x{width}x{channels}")
        return height, width, channels

    @property
    def task(self) -> str:
        """binary, multiclass, multilabel or regression, as its answers have it."""
        answers = self._loaded.signatures["serving_default"].structured_outputs
        if "values" in answers:
            return "regression"
        if "is_present" in answers:
            return "multilabel"
        units = self._loaded.signatures["scores"].structured_outputs["scores"].shape[-1]
        return "binary" if units == 1 else "multiclass"

    @property
    def signatures(self) -> dict[str, dict[str, Any]]:
        """The outputs, name -> specification, of each signature that takes pixels."""
        return {
            name: dict(call.structured_outputs)
            for name, call in self._loaded.signatures.items()
            if set(call.structured_input_signature[1]) == {"image"}
        }

    def scores(self, images: Images) -> np.ndarray:
        """The last layer's (N, units) for images (N, H, W, C) uint8."""
        return self.answer("scores", images)["scores"]

    def predict(self, images: np.ndarray, thresholds: Sequence[float] = ()) -> list[dict[str, Any]]:
        """A record an image: class and probability, or the labels that are present, or the values.

        `thresholds`: from which probability on a label is there, or the second of two classes; one a unit, else 0.5.
        """
        answers = {name: _decimal(values) for name, values in self.decided(images, thresholds).items()}
        return [self._record({name: values[i] for name, values in answers.items()}) for i in range(len(images))]

    def decided(self, images: Images, thresholds: Sequence[float] = ()) -> dict[str, np.ndarray]:
        """The same as arrays of N rows, an output each: those of the signature `serving_default`."""
        found = self.answer("serving_default", images)
        return found | self._decided(found, thresholds)

    def _decided(self, found: dict[str, np.ndarray], thresholds: Sequence[float]) -> dict[str, np.ndarray]:
        """What other thresholds than 0.5 change of answers."""
        if not thresholds:
            return {}
        probabilities = found["probabilities"]
        if "is_present" in found:
            return {"is_present": probabilities > np.array(thresholds)}
        second = (probabilities[:, 1] > thresholds[0]).astype(int)
        names = np.array([name.encode() for name in self.class_names], object)
        return {"class": names[second], "probability": probabilities[np.arange(len(second)), second]}

    def answer(self, signature: str, images: Images) -> dict[str, np.ndarray]:
        """What a signature says of images (N, H, W, C) uint8, N > 0, an array of N rows an output."""
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


def _decimal(values: np.ndarray) -> np.ndarray:
    """Floats of 32 bits as the shortest decimals that mean them: 0.1, where 64 bits would say 0.10000000149011612."""
    return values.astype(str).astype(np.float64) if values.dtype == np.float32 else values
