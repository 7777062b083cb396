"""What may vary, and one point of it by arithmetic: space files, architectures, recipes.

No TensorFlow, no images; KerasTuner in `hyperparameters` alone. Reads space files.
"""
