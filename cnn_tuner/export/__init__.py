"""The best model as files that others can serve, each proved by a reader of its own.

May touch TensorFlow, Keras, files, and the processes that read exports.
"""
