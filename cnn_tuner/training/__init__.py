"""The only place that fits a model: a job in, a result out, its whole state in a file.

May touch TensorFlow, Keras, clocks, and the file of the job's state.
"""
