"""Where jobs are trained: worker processes, this process, or nowhere, simulated.

Processes, threads and pipes live here; TensorFlow only behind the trainer that a worker is told by name.
"""
