"""TensorFlow, loaded without its chatter, and Keras upon it."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from cnn_tuner.errors import UsageError

BACKEND, LOG_LEVEL = "KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL"  # environment variables


@contextmanager
def quiet_tensorflow(is_debug: bool = False, spared: Sequence[str] = ()) -> Iterator[None]:
    """Keeps what TensorFlow says while it is loaded away from the terminal, unless loading it fails.

    It is loaded by whatever asks for it first: a driver has started its workers by then, which load theirs. With
    `is_debug` it is heard. Of packages that Keras loads where they are there, it is loaded without those `spared`.

    Raises:
        UsageError: Keras is loaded with another backend.
    """
    choose_backend()
    is_loaded = "tensorflow" in sys.modules
    finder = None if is_loaded or is_debug or _Finder.is_there() else _Finder(spared)
    if finder is not None:
        os.environ.setdefault(LOG_LEVEL, "2")
        sys.meta_path = [finder, *sys.meta_path]  # another list: some thread may walk this one
    logger = logging.getLogger("tensorflow")
    before = logger.level
    logger.setLevel(before if is_debug else logging.ERROR)
    try:
        yield
    finally:
        if finder is not None:
            finder.leave()
        if is_loaded or is_debug or "tensorflow" not in sys.modules:
            logger.setLevel(before)  # who loaded it themselves may want to hear it


def choose_backend() -> None:
    """Has Keras use TensorFlow, in this process and in those that it starts.

    Raises:
        UsageError: it is loaded with another backend.
    """
    keras = sys.modules.get("keras")
    if keras is not None and (found := keras.config.backend()) != "tensorflow":
        raise UsageError(f"Keras is loaded with the backend {found}: set {BACKEND}=tensorflow before it is imported")
    os.environ[BACKEND] = "tensorflow"


class _Finder(MetaPathFinder):
    """Finds TensorFlow, and what is built upon it, as Python does, and has it loaded unheard.

    Who only asks whether it is there changes nothing.
    """

    def __init__(self, spared: Sequence[str]) -> None:
        self._thread, self._spared = threading.local(), spared

    @classmethod
    def is_there(cls) -> bool:
        return any(isinstance(finder, cls) for finder in sys.meta_path)

    def leave(self) -> None:
        sys.meta_path = [finder for finder in sys.meta_path if finder is not self]

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in LOADERS or getattr(self._thread, "is_asking", False):
            return None
        self._thread.is_asking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._thread.is_asking = False
        if spec is not None and spec.loader is not None:
            spec.loader = LOADERS[name](spec.loader, self._spared)
        return spec


class _Loader(Loader):
    """Loads a package by the loader that it has, while other packages are not found that it can do without."""

    def __init__(self, own: Loader, spared: Sequence[str]) -> None:
        self._own, self._spared = own, spared

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        from cnn_tuner.executors.worker import without  # which a command without TensorFlow need not load

        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self._own
        with without(self._spared):
            self.load(module)

    def load(self, module: ModuleType) -> None:
        self._own.exec_module(module)


class _TensorFlowLoader(_Loader):
    """The same, while nothing of it is heard."""

    def load(self, module: ModuleType) -> None:
        with _unheard():
            super().load(module)
            for gpu in module.config.list_physical_devices("GPU"):
                module.config.experimental.set_memory_growth(gpu, True)  # leave room for whoever shares it
            module.config.list_logical_devices()  # looks for devices now, while it is not heard
        module.get_logger().setLevel(logging.ERROR)


# Each loads the ones before it; KerasTuner's own use of them is for its tuner of scikit-learn's models.
LOADERS = {"tensorflow": _TensorFlowLoader, "keras": _Loader, "keras_tuner": _Loader}


@contextmanager
def _unheard() -> Iterator[None]:
    """Keeps what is written to the file descriptor of stderr, which TensorFlow's C++ part does, unless this fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as scratch:
        os.dup2(scratch.fileno(), 2)
        try:
            yield
        except BaseException:
            scratch.seek(0)
            os.write(kept, scratch.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
