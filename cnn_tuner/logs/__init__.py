"""What a run writes for TensorBoard: a run a trial and one for the best, made anew at any time.

May touch TensorFlow's summaries and the run's folder tensorboard/.
"""
