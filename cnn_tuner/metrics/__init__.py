"""What is measured, and how sure it is: tasks and objectives, scores, intervals.

NumPy and scikit-learn. No TensorFlow, no files, no clocks.
"""
