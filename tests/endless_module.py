"""Takes for ever to be loaded."""

import threading

threading.Event().wait()
