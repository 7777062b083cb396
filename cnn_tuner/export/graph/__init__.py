"""What a SavedModel holds besides the network: decoding, warm-up, the same bytes each time.

May touch TensorFlow and the files of the SavedModel that is being written.
"""
