"""An architecture as a Keras model: the seven steps, a small function each, and how they learn.

May touch Keras and TensorFlow. No files; a clock only to time one image.
"""
