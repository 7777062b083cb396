"""The seven classic steps of a CNN, one small function each, in the order in which data meets them.

Every function returns the Keras layer of its step. Dropout and the initial weights draw from the seed they are given,
so that a model is the same whenever and wherever it is built.
"""

from __future__ import annotations

import keras

CHANNELS_LAST = "channels_last"  # said to each layer: a user's keras.json may say otherwise


def convolution(filters: int, kernel_size: int, strides: int, padding: str, seed: int, name: str) -> keras.layers.Layer:
    """Step 1: slides `filters` kernels over the map, `strides` pixels at a time; (N, H, W, C) to (N, H', W', filters).

    At each place the patch is multiplied by the kernel, number by number, and summed. ReLU is a step of its own.
    """
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding_mode(padding),
        data_format=CHANNELS_LAST,
        kernel_initializer=keras.initializers.HeNormal(seed=seed),
        name=name,
    )


def padding_mode(padding: str) -> str:
    """Step 2: what the convolution does at the border, an argument of `Conv2D` in Keras.

    "same" adds zeros around the map, so that without strides it keeps its size; "valid" adds none, and the map shrinks.
    """
    if padding not in ("same", "valid"):
        raise ValueError(f"padding: must be one of same, valid, got {padding!r}")
    return padding


def relu(name: str) -> keras.layers.Layer:
    """Step 3: negative values become 0; the shape stays."""
    return keras.layers.ReLU(name=name)


def pooling(pool_size: int, strides: int, name: str) -> keras.layers.Layer:
    """Step 4: keeps the largest value of each window; (N, H, W, C) to (N, H', W', C)."""
    return keras.layers.MaxPooling2D(pool_size, strides=strides, padding="valid", data_format=CHANNELS_LAST, name=name)


def dropout(rate: float, seed: int, name: str) -> keras.layers.Layer:
    """Step 5: while training, a share `rate` of the values becomes 0 at random and the rest grows to make up for it."""
    return keras.layers.Dropout(rate, seed=seed, name=name)


def flatten(name: str) -> keras.layers.Layer:
    """Step 6: (N, H, W, C) to (N, H*W*C), row by row, channels last."""
    return keras.layers.Flatten(data_format=CHANNELS_LAST, name=name)


def full_connection(units: int, seed: int, name: str) -> keras.layers.Layer:
    """Step 7, hidden: every unit is connected to every value; (N, values) to (N, units). ReLU and dropout follow."""
    return keras.layers.Dense(units, kernel_initializer=keras.initializers.HeNormal(seed=seed), name=name)


def output(units: int, activation: str, seed: int, name: str) -> keras.layers.Layer:
    """Step 7, last: `units` values whose activation the desired output decides; (N, values) to (N, units), float32."""
    return keras.layers.Dense(
        units,
        activation=activation,
        kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
        dtype="float32",  # a softmax in half precision loses the small probabilities
        name=name,
    )
