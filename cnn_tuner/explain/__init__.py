"""One image through the seven steps of a network, as numbers, words and pictures.

May touch Keras. Writes nothing itself: pages and pictures are handed back as values.
"""
