"""python -m cnn_tuner: the command line, where it is on no path."""

from cnn_tuner.cli import main

if __name__ == "__main__":
    main()
