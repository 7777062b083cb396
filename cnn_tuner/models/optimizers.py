"""The Keras optimizer of a recipe: its learning rate over time, and the average of the weights that it keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from cnn_tuner.spaces.recipe import Recipe

SGD_MOMENTUM = 0.9
COSINE_END = 0.01  # of the learning rate, where the cosine ends
CYCLE_BEGIN = 1 / 25  # of the learning rate; these three are the one cycle of fast.ai's library (cosine annealing)
CYCLE_END = 1e-4
CYCLE_WARMUP = 0.3
PLATEAU_WARMUP = 50.0  # steps of a training without an end in sight, in which the rate grows
AVERAGED = 10.0  # the average is over about the last tenth of all steps, whenever one looks


class Course(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate from step to step, whose end may be moved while it is under way.

    The rate is a function of how far the training is. Where the end is moved, the training is as far as it was, and
    what is left of the course is run over the steps that are left: the rate does not jump, and is at its end when the
    last step is. Without an end the rate grows for a moment and stays: a plateau.
    """

    def __init__(self, recipe: Recipe, steps: int) -> None:
        self.recipe = recipe
        # how far it was (0 to 1) at which step, and the step at which it ends (0: never)
        self.place = keras.Variable(np.array([0.0, 0.0, float(steps)], np.float32), trainable=False, name="course")

    def __call__(self, step: Any) -> Any:
        step = keras.ops.cast(step, "float32")
        return self.recipe.learning_rate * self._share(step, keras.ops.minimum(1.0, (step + 1) / PLATEAU_WARMUP))

    def _share(self, step: Any, plateau: Any) -> Any:
        """Of the highest rate; `plateau` where no end is in sight."""
        ops = keras.ops
        begun, at, end = self.place[0], self.place[1], self.place[2]
        far = begun + (1 - begun) * (step - at) / ops.maximum(end - at, 1.0)
        return ops.where(end > 0, share_of_peak(self.recipe, ops.clip(far, 0, 1)), plateau)

    def move_end(self, step: int, end: int) -> None:
        """Has the course end at step `end` now that it is at `step`."""
        begun, at, before = (float(number) for number in self.place.numpy())
        far = begun + (1 - begun) * (step - at) / max(before - at, 1.0)
        self.place.assign(np.array([min(1.0, far), step, end], np.float32))

    def begin_at_peak(self, step: int, steps: int) -> None:
        """Has it begin at step `step`, when its rate is at its highest, and take so many; 0: no end is in sight."""
        begun = [warmup_of(self.recipe), step, step + steps] if steps else [0.0, 0.0, 0.0]
        self.place.assign(np.array(begun, np.float32))

    @property
    def end(self) -> int:
        """The step at which it ends; 0 where no end is in sight."""
        return int(self.place.numpy()[2])

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError("a course is made for one training, and is not saved with a model")


class GivenCourse(Course):
    """The rate that somebody else chose: a number, which falls where an end is in sight, or a schedule of their own."""

    def __init__(self, rate: float | keras.optimizers.schedules.LearningRateSchedule, steps: int) -> None:
        constant = rate if isinstance(rate, float) else 1.0
        super().__init__(Recipe(constant, 1, schedule="cosine"), steps)
        self.rate = rate

    def __call__(self, step: Any) -> Any:
        if not isinstance(self.rate, float):
            return self.rate(step)
        return self.rate * self._share(keras.ops.cast(step, "float32"), 1.0)


def warmup_of(recipe: Recipe) -> float:
    """The share of its course after which the learning rate is at its highest."""
    return CYCLE_WARMUP if recipe.schedule == "one_cycle" else recipe.warmup


def share_of_peak(recipe: Recipe, far: Any) -> Any:
    """The learning rate as a share of its highest, `far` (0 to 1) on its course; numbers or tensors."""
    ops = keras.ops
    warmup = warmup_of(recipe)
    begin = CYCLE_BEGIN if recipe.schedule == "one_cycle" else 0.0
    end = {"constant": 1.0, "cosine": COSINE_END, "one_cycle": CYCLE_END}[recipe.schedule]
    falling = ops.clip((far - warmup) / (1 - warmup), 0, 1)
    fallen = end + (1 - end) * (1 + ops.cos(math.pi * falling)) / 2
    if not warmup:
        return fallen
    grown = begin + (1 - begin) * far / warmup
    return ops.where(far < warmup, grown, fallen)


class _Averaging:
    """Keeps an average of the weights, over the last tenth of the steps so far whatever their number will be.

    Keras's own average has one momentum for all steps: after few it is the first weights for the most part, and what it
    looks back on is fixed, where the length of a training is not. The momentum here is (1 + t) / (10 + t), as in
    TensorFlow's `ExponentialMovingAverage`. A model's own weights stay what they are.
    """

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[Any]) -> None:
        step = keras.ops.cast(self.iterations, "float32")  # type: ignore[attr-defined]
        momentum = (1 + step) / (AVERAGED + step)
        for variable, average in zip(trainable_variables, averages(self), strict=True):
            average.assign(momentum * average + (1 - momentum) * variable)

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Leaves the weights as they are at the end of `fit`: training may go on."""


class AveragingAdam(_Averaging, keras.optimizers.Adam):
    pass


class AveragingNadam(_Averaging, keras.optimizers.Nadam):
    pass


class AveragingRMSprop(_Averaging, keras.optimizers.RMSprop):
    pass


class AveragingSGD(_Averaging, keras.optimizers.SGD):
    pass


_NESTEROV = {"momentum": SGD_MOMENTUM, "nesterov": True}
OPTIMIZERS: dict[str, Any] = {
    "adam": keras.optimizers.Adam,
    "nadam": keras.optimizers.Nadam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": partial(keras.optimizers.SGD, **_NESTEROV),
}
AVERAGING: dict[str, Any] = {
    "adam": AveragingAdam,
    "nadam": AveragingNadam,
    "rmsprop": AveragingRMSprop,
    "sgd": partial(AveragingSGD, **_NESTEROV),
}


def averaging(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The same optimizer, which keeps an average of the weights besides, and whose learning rate is to be set again.

    One that keeps an average of its own is left as it is.
    """
    if optimizer.use_ema:
        return optimizer
    kind = type(optimizer)
    rate, optimizer._learning_rate = optimizer._learning_rate, 0.0  # a schedule of a person's own may have no config
    settings = optimizer.get_config() | {"use_ema": True, "learning_rate": 0.0}
    optimizer._learning_rate = rate
    averaging_kind: Any = type(f"Averaging{kind.__name__}", (_Averaging, kind), {})
    found = averaging_kind.from_config(settings)
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):  # which are in no config
        if hasattr(optimizer, name):
            setattr(found, name, getattr(optimizer, name))
    return found


def averages(optimizer: Any) -> list[Any]:
    """The averaged weights that an optimizer of `averaging_optimizer` keeps, in the order of the trainable weights."""
    return list(optimizer._model_variables_moving_average)


def averaging_optimizer(recipe: Recipe, steps: int = 0) -> keras.optimizers.Optimizer:
    """The optimizer with which a trial is trained, on a `Course` of so many steps; 0: without an end in sight."""
    make = partial(AVERAGING[recipe.optimizer], use_ema=True)
    return _without_decay_of_biases(make(learning_rate=Course(recipe, steps), weight_decay=recipe.weight_decay or None))


def make_optimizer(recipe: Recipe, schedule_steps: int | None) -> keras.optimizers.Optimizer:
    """The optimizer of a recipe, made of Keras's own parts: a model that is saved with it needs no code of ours.

    Args:
        recipe: how to train.
        schedule_steps: the batches over which its learning rate runs its course, after which it stays where it is;
            None keeps it constant.
    """
    rate = recipe.learning_rate if schedule_steps is None else learning_rate(recipe, schedule_steps)
    make = OPTIMIZERS[recipe.optimizer]
    return _without_decay_of_biases(make(learning_rate=rate, weight_decay=recipe.weight_decay or None))


def _without_decay_of_biases(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Decay keeps kernels small; a bias that is pulled to 0 only moves where its unit begins to answer."""
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def learning_rate(recipe: Recipe, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate over `steps` batches, made of Keras's own parts."""
    peak = recipe.learning_rate
    if not recipe.is_scheduled:
        return peak
    is_cycle = recipe.schedule == "one_cycle"
    warmup_steps = round(steps * warmup_of(recipe))
    end = {"constant": 1.0, "cosine": COSINE_END, "one_cycle": CYCLE_END}[recipe.schedule]
    decay = keras.optimizers.schedules.CosineDecay
    if warmup_steps == 0:
        return decay(peak, max(1, steps), alpha=end)
    begin = peak * CYCLE_BEGIN if is_cycle else 0.0
    rest = max(1, steps - warmup_steps)
    return decay(begin, rest, alpha=end, warmup_target=peak, warmup_steps=warmup_steps)
