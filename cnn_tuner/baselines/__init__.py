"""Simple models on the same split, fitted in seconds: what a network has to beat.

May touch scikit-learn, inside its functions, and a clock to say how long it took. No TensorFlow, no files.
"""
