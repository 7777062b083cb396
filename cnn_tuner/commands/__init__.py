"""The commands of the command line. A command imports what it needs when it runs, so that `--help` answers at once."""
