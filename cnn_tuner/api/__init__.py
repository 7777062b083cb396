"""What Python programs call: tune, load, runs, exports, callbacks; the command line works through it, too.

Everything public is named in `cnn_tuner/__init__.py`. Reads the two environment variables of the cache.
"""
