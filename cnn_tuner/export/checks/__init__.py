"""Files from outside, looked at before anything loads them: no code, no links, known sizes.

Reads files. Never loads what it checks; no TensorFlow but its protocol buffers.
"""
