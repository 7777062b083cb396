"""A `.keras` file of a person's own network: which classes it may be made of, and what Keras would build of it.

It is built in a graph of TensorFlow's, where every shape is known, and nothing is calculated and no memory taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cnn_tuner.data.files import one_line, shown
from cnn_tuner.export.checks.container import refused
from cnn_tuner.export.checks.keras_layers import MAX_ELEMENTS, Shape

MAX_CALLS = 10_000  # of layers, those of networks within networks counted as often as these are called

# What Keras's own layers for images are made of, by where it lies. Everything else is refused: what runs code (Lambda,
# TFSMLayer, layers of other frameworks), reads files (vocabularies), loops, or makes tables of a number.
# fmt: off
_KNOWN: dict[str | None, tuple[str, ...]] = {
    None: ("__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"),  # how inputs are written
    "keras": ("DTypePolicy", "Sequential"),
    "keras.constraints": ("MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"),
    "keras.initializers": (
        "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "LecunNormal",
        "LecunUniform", "Ones", "Orthogonal", "RandomNormal", "RandomUniform", "TruncatedNormal",
        "VarianceScaling", "Zeros",
    ),
    "keras.layers": (
        "Activation", "ActivityRegularization", "Add", "AlphaDropout", "Average", "AveragePooling1D",
        "AveragePooling2D", "AveragePooling3D", "BatchNormalization", "CenterCrop", "Concatenate", "Conv1D",
        "Conv1DTranspose", "Conv2D", "Conv2DTranspose", "Conv3D", "Conv3DTranspose", "Cropping1D", "Cropping2D",
        "Cropping3D", "Dense", "DepthwiseConv1D", "DepthwiseConv2D", "Dot", "Dropout", "ELU", "Flatten",
        "GaussianDropout", "GaussianNoise", "GlobalAveragePooling1D", "GlobalAveragePooling2D",
        "GlobalAveragePooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D",
        "GroupNormalization", "Identity", "InputLayer", "LayerNormalization", "LeakyReLU", "MaxPooling1D",
        "MaxPooling2D", "MaxPooling3D", "Maximum", "Minimum", "Multiply", "Normalization", "PReLU", "Permute",
        "RMSNormalization", "RandomBrightness", "RandomContrast", "RandomCrop", "RandomFlip", "RandomRotation",
        "RandomTranslation", "RandomZoom", "ReLU", "RepeatVector", "Rescaling", "Reshape", "Resizing",
        "SeparableConv1D", "SeparableConv2D", "Softmax", "SpatialDropout1D", "SpatialDropout2D",
        "SpatialDropout3D", "Subtract", "UnitNormalization", "UpSampling1D", "UpSampling2D", "UpSampling3D",
        "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
    ),
    "keras.regularizers": ("L1", "L1L2", "L2", "OrthogonalRegularizer"),
    "keras.src.models.functional": ("Functional",),
    "keras.src.ops.core": ("Cast",),
    "keras.src.ops.image": ("Resize",),
    "keras.src.ops.nn": (
        "AveragePool", "Elu", "Gelu", "HardSigmoid", "HardSilu", "LeakyRelu", "LogSoftmax", "MaxPool", "Relu",
        "Relu6", "Selu", "Sigmoid", "Silu", "Softmax", "Softplus", "Softsign",
    ),
    "keras.src.ops.numpy": (
        "Abs", "Absolute", "Add", "Amax", "Amin", "Average", "Clip", "Concatenate", "Divide", "Exp",
        "ExpandDims", "Flip", "GetItem", "Log", "Log1p", "Matmul", "Max", "Maximum", "Mean", "Min", "Minimum",
        "Moveaxis", "Multiply", "Negative", "Pad", "Power", "Prod", "Reshape", "Sqrt", "Square", "Squeeze",
        "Stack", "Std", "Subtract", "Sum", "Tanh", "Transpose", "TrueDivide", "Var",
    ),
}
# fmt: on
CLASSES = frozenset((module, name) for module, names in _KNOWN.items() for name in names)
DTYPES = frozenset(
    ("bool", "float16", "float32", "float64", "int32", "int64", "uint8")
)  # of arrays: no text of a length


def check_network(path: Path, config: Any) -> list[Shape]:
    """Builds a network whose classes are known to be of `CLASSES`, and looks at what it makes of an image.

    Returns:
        The shapes of its weights.

    Raises:
        VerificationError: Keras cannot build it, it takes no images, or makes something too large of one.
    """
    import keras  # a look at an export loads none
    import tensorflow as tf

    if _calls(config) > MAX_CALLS:
        raise refused(path, f"its layers are called over {MAX_CALLS:,} times")
    with tf.Graph().as_default() as graph:
        try:
            model = keras.saving.deserialize_keras_object({**config, "compile_config": None}, safe_mode=True)
            batch, *sides = model.input_shape
            built = len(graph.get_operations())
            model(tf.compat.v1.placeholder(model.inputs[0].dtype, (1, *sides)), training=False)
        except Exception as error:  # Keras raises almost anything on numbers that do not fit
            raise refused(path, f"Keras {keras.__version__} cannot build it: {one_line(error)}") from error
        if batch is not None or len(sides) != 3 or None in sides:
            raise refused(path, f"its input must be any number of images of one size, is {[batch, *sides]}")
        for made in graph.get_operations()[built:]:
            for output in made.outputs:
                _check_output(path, made.name, output.shape)
        return [tuple(weight.shape) for weight in model.weights]


def _check_output(path: Path, name: str, shape: Any) -> None:
    if not shape.is_fully_defined() or shape.num_elements() > MAX_ELEMENTS:
        raise refused(path, f"operation {shown(name)} gives {shape} for an image; allowed are {MAX_ELEMENTS:,}")


def _calls(config: Any) -> int:
    """How often layers are called in a network, or in none; a layer of a sequence is called once."""
    layers = config.get("config", {}).get("layers", [])
    return sum(max(len(layer.get("inbound_nodes", [])), 1) * (1 + _calls(layer)) for layer in layers)
