"""One file a format, each with `write`, and the registry that names them.

May touch TensorFlow, Keras and the converters of the extras, inside the functions that need them.
"""
