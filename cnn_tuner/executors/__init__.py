"""Executors: where a job is trained."""
