"""An export behind TensorFlow Serving's REST path, on this machine only.

May touch sockets of 127.0.0.1 and clocks. Knows a model only as a function that it is handed.
"""
