"""Reads an export in a new process and writes what it predicts. Run as a file, so that nothing of cnn_tuner is there.

python -I reader.py saved_model FOLDER IMAGES.npy ANSWERS.npz
python -I reader.py keras       FILE   IMAGES.npy ANSWERS.npz
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

BATCH = 256


def read_saved_model(folder: str, images: Any) -> dict[str, Any]:
    """The `scores` and the class names of a SavedModel, by TensorFlow alone, in batches of 1, of 3 and of the rest."""
    sys.modules["keras"] = sys.modules["cnn_tuner"] = None  # type: ignore[assignment]  # importing either would fail
    import numpy as np
    import tensorflow as tf

    loaded = tf.saved_model.load(folder)
    score, serve = loaded.signatures["scores"], loaded.signatures["serving_default"]
    places = [0, *[at for at in (1, 4) if at < len(images)], *range(4 + BATCH, len(images), BATCH), len(images)]
    batches = [tf.constant(images[a:b]) for a, b in itertools.pairwise(places)]
    answers = [serve(image=batch) for batch in batches]
    names = loaded.signatures["labels"]()["class_names"].numpy()
    found = {
        "scores": np.concatenate([score(image=batch)["scores"].numpy() for batch in batches]),
        "class_names": np.array([name.decode() for name in names]),
    }
    if "class" in answers[0]:
        found["classes"] = np.concatenate([[name.decode() for name in a["class"].numpy()] for a in answers])
    return found


def read_keras(file: str, images: Any) -> dict[str, Any]:
    """The scores of a .keras file, by Keras, with code from the file refused."""
    sys.modules["cnn_tuner"] = None  # type: ignore[assignment]
    import keras

    model = keras.saving.load_model(file, compile=False, safe_mode=True)
    return {"scores": model.predict(images, batch_size=BATCH, verbose=0)}


def main(kind: str, path: str, images_file: str, answers_file: str) -> None:
    """Reads, predicts, writes."""
    import numpy as np

    images = np.load(images_file, allow_pickle=False)
    read = {"saved_model": read_saved_model, "keras": read_keras}[kind]
    np.savez(answers_file, **read(path, images))


if __name__ == "__main__":
    main(*sys.argv[1:])
