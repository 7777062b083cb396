"""A search space as a KerasTuner HyperModel, for people who bring their own KerasTuner tuner.

space = cnn_tuner.space.load("quick")
hypermodel = CNNHyperModel(space, image_shape=(28, 28, 1), output=Output("multiclass", 10))
tuner = keras_tuner.RandomSearch(hypermodel, objective="val_accuracy", max_trials=10)
tuner.search(x_train, y_train, validation_data=(x_val, y_val), epochs=5)
"""

from __future__ import annotations

from typing import Any

import keras
import keras_tuner

from cnn_tuner import architecture, hyperparameters, model
from cnn_tuner.space import SearchSpace
from cnn_tuner.tasks import Output


class CNNHyperModel(keras_tuner.HyperModel):
    """Builds and fits the CNN that a point of `space` describes.

    Images are (N, H, W, C) uint8; `output` says the task and the units of the last layer.
    """

    def __init__(self, space: SearchSpace, image_shape: tuple[int, int, int], output: Output, seed: int = 0) -> None:
        super().__init__(name=space.name)
        self.space, self.image_shape, self.output, self.seed = space, image_shape, output, seed

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The compiled model.

        Raises:
            InfeasibleError: the point cannot be built or breaks a limit. KerasTuner's own tuners count it as a failed
                trial; while they are made they build the first value of every choice, which must be feasible.
        """
        values = hyperparameters.declare(self.space, hp)
        plan = architecture.fit(self.space, values, self.image_shape, self.output)
        built = model.build(plan, self.seed)
        model.compile_model(built, values, self.output)
        return built

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        """Fits with the point's batch size unless the caller names one."""
        kwargs.setdefault("batch_size", hp.get("batch_size"))
        return model.fit(*args, **kwargs)
