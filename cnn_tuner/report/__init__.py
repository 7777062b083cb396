"""A run and a model told to people: the page for a browser, charts, the model card.

A pure function of the store: no TensorFlow, no clocks; writes the page that it was asked for.
"""
