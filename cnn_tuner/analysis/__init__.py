"""What a search has shown: what mattered, where to search next, what the winner gets wrong.

Reads stored trials and answers. No TensorFlow; Optuna for importance, inside the function; writes no file but a space.
"""
