"""What is to be known of images and labels before anything is trained on them.

Reads pixels and labels, fits one cheap model, changes nothing. No TensorFlow.
"""
