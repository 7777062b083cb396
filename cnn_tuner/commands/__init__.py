"""The commands of the command line, one file a group; with cli.py the only place that prints.

May touch anything below; a command imports what it needs when it runs, so that `--help` answers at once.
"""
