"""cnn_tuner: search, log and export convolutional neural networks built from the seven classic steps."""

__version__ = "0.1.0"
