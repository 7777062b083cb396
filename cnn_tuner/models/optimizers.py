"""The Keras optimizer of a recipe, its learning rate over time included."""

from __future__ import annotations

import keras

from cnn_tuner.spaces.recipe import Recipe

SGD_MOMENTUM = 0.9
COSINE_END = 0.01  # of the learning rate, where the cosine ends
CYCLE_BEGIN = 1 / 25  # of the learning rate; these three are the one cycle of fast.ai's library (cosine annealing)
CYCLE_END = 1e-4
CYCLE_WARMUP = 0.3

OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "nadam": keras.optimizers.Nadam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": lambda **settings: keras.optimizers.SGD(momentum=SGD_MOMENTUM, nesterov=True, **settings),
}


def make_optimizer(recipe: Recipe, schedule_steps: int | None) -> keras.optimizers.Optimizer:
    """The optimizer of a recipe.

    Args:
        recipe: how to train.
        schedule_steps: the batches over which its learning rate runs its course, after which it stays where it is;
            None keeps it constant.
    """
    rate = recipe.learning_rate if schedule_steps is None else learning_rate(recipe, schedule_steps)
    optimizer = OPTIMIZERS[recipe.optimizer](learning_rate=rate, weight_decay=recipe.weight_decay or None)
    # Decay keeps kernels small; a bias that is pulled to 0 only moves where its unit begins to answer.
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def learning_rate(recipe: Recipe, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate over `steps` batches, made of Keras's own parts: a saved model needs no code of ours."""
    peak = recipe.learning_rate
    if not recipe.is_scheduled:
        return peak
    is_cycle = recipe.schedule == "one_cycle"
    warmup_steps = round(steps * (CYCLE_WARMUP if is_cycle else recipe.warmup))
    end = {"constant": 1.0, "cosine": COSINE_END, "one_cycle": CYCLE_END}[recipe.schedule]
    decay = keras.optimizers.schedules.CosineDecay
    if warmup_steps == 0:
        return decay(peak, max(1, steps), alpha=end)
    begin = peak * CYCLE_BEGIN if is_cycle else 0.0
    rest = max(1, steps - warmup_steps)
    return decay(begin, rest, alpha=end, warmup_target=peak, warmup_steps=warmup_steps)
