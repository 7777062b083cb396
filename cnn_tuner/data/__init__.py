"""Images and labels: from what the user names to one checked Dataset, one file a source.

Reads the files of sources and maps shared arrays. No TensorFlow but behind keras.datasets.
"""
