"""What a run was asked for and what happened: its folder, its config, its store.

Files and SQLite. No TensorFlow, nothing that is printed.
"""
