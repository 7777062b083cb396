"""What suggests the next point: asha with its samplers, random, grid, bayesian, hyperband.

KerasTuner's oracles over feasible points, without its files; Optuna and SciPy. No TensorFlow of their own, no clocks.
"""
