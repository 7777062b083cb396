"""An export used on images, from files, folders, standard input or a run's own data.

Reads images. TensorFlow only through `export.served`.
"""
