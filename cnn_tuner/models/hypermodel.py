"""A search space as a KerasTuner HyperModel, for people who bring their own KerasTuner tuner.

space = cnn_tuner.spaces.tree.load("quick")
hypermodel = CNNHyperModel(space, image_shape=(28, 28, 1), output=Output("multiclass", 10))
tuner = keras_tuner.RandomSearch(hypermodel, objective="val_accuracy", max_trials=10)
tuner.search(x_train, y_train, validation_data=(x_val, y_val), epochs=5)
"""

from __future__ import annotations

from typing import Any

import keras
import keras_tuner

from cnn_tuner.errors import UsageError
from cnn_tuner.metrics.tasks import Output
from cnn_tuner.models import builder
from cnn_tuner.spaces import architecture, hyperparameters
from cnn_tuner.spaces.recipe import recipe_of
from cnn_tuner.spaces.tree import SearchSpace


class CNNHyperModel(keras_tuner.HyperModel):
    """Builds and fits the CNN that a point of `space` describes.

    Images are (N, H, W, C) uint8; `output` says the task and the units of the last layer. `schedule_steps` are the
    batches that a point is trained in all, for spaces whose learning rate has a schedule.
    """

    def __init__(
        self,
        space: SearchSpace,
        image_shape: tuple[int, int, int],
        output: Output,
        seed: int = 0,
        schedule_steps: int | None = None,
    ) -> None:
        super().__init__(name=space.name)
        self.space, self.image_shape, self.output, self.seed = space, image_shape, output, seed
        self.schedule_steps = schedule_steps

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Registers all of them, with a point as defaults that can be trained: while a tuner is made it is built.

        Raises:
            SpaceError: no point of the space can be trained on such images.
        """
        [defaults] = architecture.sample_feasible(self.space, self.image_shape, self.output, 1, self.seed)
        hyperparameters.declare(self.space, hp, defaults)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The compiled model.

        Raises:
            InfeasibleError: the point cannot be built or breaks a limit. KerasTuner's own tuners count it as a failed
                trial.
            UsageError: the point's learning rate has a schedule, and nothing was said of its length.
        """
        values = hyperparameters.point_of(self.space, hp)
        recipe = recipe_of(values)
        if recipe.is_scheduled and self.schedule_steps is None:
            raise UsageError(
                f"{self.space.place}: training.schedule: {recipe.schedule} with warmup {recipe.warmup:g} needs "
                "CNNHyperModel(..., schedule_steps=epochs * batches an epoch)"
            )
        plan = architecture.fit(self.space, values, self.image_shape, self.output)
        built = builder.build(plan, self.seed, recipe=recipe)
        builder.compile_model(built, recipe, self.output, schedule_steps=self.schedule_steps)
        return built

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        """Fits with the point's batch size unless the caller names one."""
        kwargs.setdefault("batch_size", hp.get("batch_size"))
        return model.fit(*args, **kwargs)
