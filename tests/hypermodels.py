"""Hypermodels of KerasTuner's kind for images of 8x8 in four classes, as people write them."""

from __future__ import annotations

import keras
import keras_tuner

CLASSES = 4


def small(hp):
    """With batch normalisation and dropout, pixels from 0 to 255, and hyperparameters that bring others about."""
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255)])
    for index in range(hp.Int("blocks", 1, 2)):
        model.add(keras.layers.Conv2D(hp.Choice(f"filters_{index}", [4, 8]), 3, padding="same"))
        if hp.Boolean("normalised", default=True):
            model.add(keras.layers.BatchNormalization(momentum=hp.Float("momentum", 0.8, 0.99, default=0.9)))
        model.add(keras.layers.ReLU())
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dropout(hp.Float("rate", 0.0, 0.5, step=0.25)))
    model.add(keras.layers.Dense(CLASSES, activation="softmax"))
    rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log", default=1e-2)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def logits(hp):
    """A functional model of (8, 8) that gives logits, with one-hot labels and Keras's long names of metrics."""
    inputs = keras.Input((8, 8))
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Dense(hp.Int("units", 8, 16, step=8), activation="relu")(x)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(x))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=[keras.metrics.CategoricalAccuracy()])
    return model


class WithFit(keras_tuner.HyperModel):
    """Decides how it is trained, as KerasTuner lets it."""

    def build(self, hp):
        return small(hp)

    def fit(self, hp, model, *args, **kwargs):
        history = model.fit(
            *args,
            batch_size=hp.Choice("batch", [8, 16]),
            class_weight=dict.fromkeys(range(CLASSES), 2.0),
            **kwargs,
        )
        return max(history.history["val_accuracy"])


def backbone(hp):
    """One of Keras's applications behind a resize, with Keras's own preparation of pixels."""
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Concatenate()([keras.layers.Resizing(32, 32)(inputs)] * 3)
    x = keras.applications.mobilenet_v2.preprocess_input(x)
    alpha = hp.Choice("alpha", [0.35, 0.5])
    base = keras.applications.MobileNetV2((32, 32, 3), alpha=alpha, include_top=False, weights=None, pooling="avg")
    x = keras.layers.Dropout(hp.Float("rate", 0.0, 0.5, step=0.25))(base(x))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3), loss, metrics=["accuracy"])
    return model
