"""Networks of a person's own: what a hypermodel of KerasTuner's kind, `build(hp) -> compiled keras.Model`, makes.

A point's values are those of its hyperparameters. What it builds is trained as it was compiled, on pixels as Keras's
own loaders would give them, and is exported behind the same input as any other: images (N, H, W, C) uint8.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from cnn_tuner.metrics.tasks import Output
from cnn_tuner.models import builder
from cnn_tuner.runs.records import Precision
from cnn_tuner.spaces.recipe import BATCH_SIZE
from cnn_tuner.spaces.tree import Point

# What Keras calls a metric by its class's name, and what it is called here.
METRIC_NAMES = {
    "AUC": "auc",
    "acc": "accuracy",
    "binary_accuracy": "accuracy",
    "categorical_accuracy": "accuracy",
    "sparse_categorical_accuracy": "accuracy",
    "mean_absolute_error": "mae",
    "root_mean_squared_error": "rmse",
}
METRIC_NAMES |= {f"val_{theirs}": f"val_{ours}" for theirs, ours in METRIC_NAMES.items()}
# Arguments of Keras's `fit` that are the search's.
_OURS = ("x", "y", "validation_data", "epochs", "initial_epoch", "shuffle", "verbose")
# Callbacks that do what the search does: it sets the rate where it is asked to fall, and keeps the states.
_REFUSED = (
    keras.callbacks.BackupAndRestore,
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.SwapEMAWeights,
)
ANY = -1  # number of units
SCORES_SLACK = 1e-3  # by which probabilities may be outside 0 to 1, or sum to another number than 1
_MACS = ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BatchMatMulV2")  # operations


@dataclass(frozen=True)
class Fitting:
    """How a hypermodel's `fit` has a network trained: its batches, and further arguments of Keras's `fit`."""

    batch_size: int = BATCH_SIZE
    callbacks: tuple[keras.callbacks.Callback, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)


class CustomModels:
    """The networks of one hypermodel for images of one shape.

    Args:
        hypermodel: a function `build(hp)`, or a `keras_tuner.HyperModel`.
        image_shape: (height, width, channels).
        output: the task, and the units that the last layer must have.
        has_unit_pixels: whether a network is given pixels from 0 to 1, as floats were handed over; otherwise 0 to 255.
    """

    def __init__(
        self, hypermodel: Any, image_shape: tuple[int, int, int], output: Output, has_unit_pixels: bool = False
    ) -> None:
        is_whole = isinstance(hypermodel, keras_tuner.HyperModel)
        self.hypermodel, self.name = hypermodel if is_whole else _OfFunction(hypermodel), name_of(hypermodel)
        self.module = str(getattr(hypermodel, "__module__", ""))  # where it is defined
        self.image_shape, self.output, self.has_unit_pixels = image_shape, output, has_unit_pixels

    def build(self, values: Point, seed: int, precision: Precision = "float32") -> keras.Model:
        """What it builds of a point: compiled, with initial weights that follow from the seed.

        Raises:
            ValueError: it fails, or returns something else.
        """
        return self.built(hyperparameters(values), seed, precision)

    def built(
        self, hp: keras_tuner.HyperParameters, seed: int, precision: Precision = "float32", units: int | None = None
    ) -> keras.Model:
        """The same of KerasTuner's hyperparameters, of which it registers those that it asks for."""
        # Names count from the beginning: a second AUC would be called auc_1, and an export have other bytes.
        keras.utils.clear_session(free_memory=False)
        try:
            with builder.computing_in(precision), _seeded(seed):
                self.hypermodel.declare_hyperparameters(hp)
                model = self.hypermodel.build(hp)
        except Exception as error:
            raise ValueError(f"{self.name}: failed with {_told(error)}") from error
        if not isinstance(model, keras.Model):
            raise ValueError(f"{self.name}: must return a compiled keras.Model, got {type(model).__name__}")
        if not model.compiled:
            raise ValueError(f"{self.name}: returns a model that is not compiled; end with model.compile(...)")
        self._check_shapes(model, self.output.units if units is None else units)
        self._check_layers(model)
        return model

    def units(self) -> int:
        """How many units the last layer of its networks has."""
        return int(self.built(hyperparameters({}), seed=0, units=ANY).output_shape[-1])

    def asked_for(self, values: Point, part: Any) -> set[str]:
        """The hyperparameters that it asks for with these values, those of other scopes too. `part`: see `fitting`."""
        hp = hyperparameters(values)
        self.fitting(hp, self.built(hp, seed=0), part)
        return {str(each.name) for each in hp.space}

    def try_out(self, images: np.ndarray, labels: np.ndarray) -> tuple[str, ...]:
        """What a network measures of some images, by the names that metrics have here.

        Raises:
            ValueError: it cannot be evaluated on them, or answers otherwise than the task needs.
        """
        model = self.build({}, seed=0)
        x, y = self.adapted(model, images, labels)
        try:
            found = model.test_on_batch(x, y, return_dict=True)
        except Exception as error:
            raise ValueError(f"{self.name}: its model cannot be evaluated on the images: {_told(error)}") from error
        self._check_scores(np.asarray(self.served(model)(images, training=False)))
        return tuple(METRIC_NAMES.get(name, name) for name in found)

    def _check_scores(self, scores: np.ndarray) -> None:
        """Scores (N, units) of an untrained model must be probabilities already, but for a regression."""
        if self.output.task == "regression":
            return
        known = "end with softmax or sigmoid, or compile with a loss of Keras's with from_logits=True"
        if scores.min() < -SCORES_SLACK or scores.max() > 1 + SCORES_SLACK:
            found = f"{scores.min():.3g} to {scores.max():.3g}"
            raise ValueError(f"{self.name}: its model's answers, {found}, are no probabilities; {known}")
        if self.output.task == "multiclass" and np.abs(scores.sum(axis=1) - 1).max() > SCORES_SLACK:
            raise ValueError(f"{self.name}: its model's answers are no probabilities that sum to 1; {known}")

    def check_operations(self, unknown: frozenset[str]) -> None:
        """Raises ValueError where there are operations that no export may hold."""
        if unknown:
            raise ValueError(f"{self.name}: calculates with {', '.join(sorted(unknown))}, which no export may hold")

    def shown(self, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, H, W, C) uint8 and their labels as a hypermodel's own `fit` may want to see them."""
        found, labels = self.adapted(self.build({}, seed=0), images, labels)
        return np.asarray(found), np.asarray(labels)

    def _check_layers(self, model: keras.Model) -> None:
        """Layers must be Keras's own: what is exported is read by processes that have no other code."""
        for layer in _layers(model):
            kind = type(layer)
            if not kind.__module__.startswith("keras.") or kind.__name__ == "Lambda":
                where = "an export is read by processes that know Keras's own layers alone"
                raise ValueError(f"{self.name}: its model has a layer of the class {kind.__name__}; {where}")

    def _check_shapes(self, model: keras.Model, units: int) -> None:
        try:
            takes, gives = model.input_shape, model.output_shape
        except (AttributeError, ValueError) as error:
            known = "begin with keras.Input, or name the input shape of the first layer"
            raise ValueError(f"{self.name}: returns a model whose shapes are not known; {known}") from error
        if isinstance(takes, (list, dict)) or isinstance(gives, (list, dict)):
            raise ValueError(f"{self.name}: must return a model of one input and one output")
        height, width, channels = self.image_shape
        fits = [(height, width, channels), *([(height, width)] if channels == 1 else [])]
        if not any(_matches(takes[1:], shape) for shape in fits):
            asked = " or ".join(map(str, fits))
            raise ValueError(f"{self.name}: its model takes images of {takes[1:]}, the data has {asked}")
        if len(gives) != 2 or (units != ANY and gives[1] != units):
            wanted = "a vector" if units == ANY else f"{units} unit{'' if units == 1 else 's'}"
            raise ValueError(f"{self.name}: its model gives {gives[1:]}, a {self.output.task} task needs {wanted}")

    def fitting(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, part: Any, is_tried: bool = False
    ) -> Fitting:
        """How its `fit` has a model trained.

        Args:
            hp: the hyperparameters that the model was built with.
            model: compiled; nothing is trained.
            part: called, gives (images, labels) as `fit` expects them.
            is_tried: whether `fit` is gone through to its end, to see what it does after its model's `fit`.

        Raises:
            ValueError: it does something that a search cannot take up.
        """
        if type(self.hypermodel).fit is keras_tuner.HyperModel.fit:
            return Fitting(int(hp.values.get("batch_size", BATCH_SIZE)))
        x, y = part()
        asked = self._asked(hp, model, x, y, is_tried)
        others = {name: value for name, value in asked.items() if name not in (*_OURS, "batch_size", "callbacks")}
        if asked.get("x") is not x or asked.get("y") is not y:
            raise ValueError(f"{self.name}: fit changes the images or labels; let layers of the model do that")
        if unknown := sorted(set(others) - {"class_weight"}):
            raise ValueError(f"{self.name}: fit hands {', '.join(unknown)} to model.fit, which the search decides")
        arguments = {name: value for name, value in others.items() if value is not None}
        callbacks = tuple(asked.get("callbacks") or ())
        if refused := [type(each).__name__ for each in callbacks if isinstance(each, _REFUSED)]:
            instead = "the search keeps states, and sets a learning rate that no schedule of Keras sets"
            raise ValueError(f"{self.name}: fit hands a {refused[0]} to model.fit; {instead}")
        return Fitting(asked.get("batch_size") or BATCH_SIZE, callbacks, arguments)

    def _asked(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, x: Any, y: Any, is_tried: bool
    ) -> dict[str, Any]:
        """The arguments with which its `fit` calls the model's own."""
        calls: list[dict[str, Any]] = []

        def fit(*positional: Any, **named: Any) -> keras.callbacks.History:
            calls.append(dict(zip(("x", "y", "batch_size", "epochs"), positional, strict=False)) | named)
            if not is_tried:
                raise _AskedError
            history = keras.callbacks.History()
            history.history = defaultdict(lambda: [0.0])
            return history

        object.__setattr__(model, "fit", fit)
        try:
            self.hypermodel.fit(hp, model, x, y, validation_data=(x, y), epochs=1, callbacks=[], verbose=0)
        except Exception as error:
            if not calls:
                raise ValueError(f"{self.name}: fit failed with {_told(error)}") from error
        finally:
            object.__delattr__(model, "fit")
        if not calls:
            known = "which a search needs to train it on and stop it"
            raise ValueError(f"{self.name}: fit does not call model.fit, {known}")
        if len(calls) > 1:
            raise ValueError(f"{self.name}: fit calls model.fit more than once; a search takes up one training")
        return calls[0]

    def given(self, images: Any) -> Any:
        """Images (N, H, W, C) uint8 as its networks are given them, but for a missing axis of channels: float32."""
        return tf.cast(images, tf.float32) / 255 if self.has_unit_pixels else tf.cast(images, tf.float32)

    def adapted(self, model: keras.Model, images: Any, labels: Any) -> tuple[Any, Any]:
        """The same as a model takes them, and labels as its loss does."""
        found = self.given(images)
        if len(model.input_shape) == 3:
            found = found[..., 0]
        if self.output.task == "multiclass" and _takes_one_hot(model):
            labels = tf.one_hot(labels, self.output.units)
        return found, labels

    def served(self, model: keras.Model) -> keras.Model:
        """From images (N, H, W, C) uint8 to scores (N, units), which are probabilities where the task has them."""
        inputs = keras.Input(self.image_shape, dtype="uint8", name="image")
        x = keras.layers.Rescaling(1 / 255 if self.has_unit_pixels else 1.0, name="scaling")(inputs)
        if len(model.input_shape) == 3:
            x = keras.layers.Reshape(self.image_shape[:2], name="rows")(x)
        x = keras.Model(model.inputs[0], model.outputs[0], name="own")(x)  # without how it was compiled
        if getattr(_loss(model), "from_logits", False):
            activation = "softmax" if self.output.task == "multiclass" else "sigmoid"
            x = keras.layers.Activation(activation, dtype="float32", name="probabilities")(x)
        return keras.Model(inputs, x, name="cnn")


class _OfFunction(keras_tuner.HyperModel):
    """The hypermodel that a function `build(hp)` is."""

    def __init__(self, function: Callable[[keras_tuner.HyperParameters], keras.Model]) -> None:
        super().__init__()
        self._function = function

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return self._function(hp)


class _AskedError(Exception):
    """What leaves a hypermodel's `fit` where it calls the model's."""


def name_of(hypermodel: Any) -> str:
    """What a function or a hypermodel is called."""
    named = getattr(hypermodel, "name", None) if isinstance(hypermodel, keras_tuner.HyperModel) else None
    return str(named or getattr(hypermodel, "__name__", None) or type(hypermodel).__name__)


class HyperParameters(keras_tuner.HyperParameters):
    """KerasTuner's, which note those that were given no default: its own copies of them name their first value."""

    def __init__(self) -> None:
        super().__init__()
        self.without_default: set[str] = set()

    def _register(self, hyperparameter: Any, overwrite: bool = False) -> Any:
        if getattr(hyperparameter, "_default", None) is None:
            self.without_default.add(hyperparameter.name)
        return super()._register(hyperparameter, overwrite)


def hyperparameters(values: Point) -> HyperParameters:
    """With these values for whatever is asked for."""
    hp = HyperParameters()
    hp.values = dict(values)
    return hp


def graph_of(model: keras.Model) -> tf.Graph:
    """What it calculates of one image."""
    spec = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    return tf.function(lambda images: model(images, training=False)).get_concrete_function(spec).graph


def operations_of(graph: tf.Graph) -> frozenset[str]:
    """What a graph calculates with, as TensorFlow calls it, in functions that it calls too."""
    found = graph.as_graph_def()
    inner = (node for function in found.library.function for node in function.node_def)
    return frozenset(node.op for node in (*found.node, *inner))


def macs_of(graph: tf.Graph) -> int:
    """Multiply-adds of convolutions and matrix products, as TensorFlow counts them."""
    counted = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    counted |= {"output": "none", "account_type_regexes": [f"^{name}$" for name in _MACS]}
    found = tf.compat.v1.profiler.profile(graph, cmd="op", options=counted)
    return int(found.total_float_ops) // 2


def _loss(model: keras.Model) -> Any:
    """What it was compiled with, as Keras's class or function; a list or dict of one is that one."""
    loss = model.loss
    if isinstance(loss, (list, tuple, dict)) and len(loss) == 1:
        [loss] = loss.values() if isinstance(loss, dict) else loss
    return keras.losses.get(loss)


def _takes_one_hot(model: keras.Model) -> bool:
    loss = _loss(model)
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", "")).startswith("categorical")


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """A model and all layers in it, those of models within it too."""
    yield model
    for layer in model.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else (layer,)


def _matches(asked: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    return len(asked) == len(shape) and all(a in (None, b) for a, b in zip(asked, shape, strict=True))


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """While inside, what is drawn without a seed follows from this one: Keras draws the seeds of layers so."""
    before = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
