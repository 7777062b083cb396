"""An export behind TensorFlow Serving's REST path, on this machine only."""
