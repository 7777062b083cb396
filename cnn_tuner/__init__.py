"""cnn_tuner: search, log and export convolutional neural networks built from the seven classic steps.

    run = cnn_tuner.tune((x, y), budget="10m")
    run.exported.predict(images).names

Names are imported when they are first used: neither TensorFlow nor NumPy is loaded before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn_tuner.api.events import Callback as Callback
    from cnn_tuner.api.exported import Export as Export
    from cnn_tuner.api.exported import Predictions as Predictions
    from cnn_tuner.api.opening import load as load
    from cnn_tuner.api.run import Run as Run
    from cnn_tuner.api.trials import Trials as Trials
    from cnn_tuner.api.tuning import tune as tune
    from cnn_tuner.errors import CnnTunerError as CnnTunerError
    from cnn_tuner.errors import DataError as DataError
    from cnn_tuner.errors import FormatError as FormatError
    from cnn_tuner.errors import SearchError as SearchError
    from cnn_tuner.errors import SpaceError as SpaceError
    from cnn_tuner.errors import StorageError as StorageError
    from cnn_tuner.errors import UsageError as UsageError
    from cnn_tuner.errors import VerificationError as VerificationError
    from cnn_tuner.runs.records import Epoch as Epoch
    from cnn_tuner.runs.records import Trial as Trial

__version__ = "0.1.0"
__all__ = [
    "Callback",
    "CnnTunerError",
    "DataError",
    "Epoch",
    "Export",
    "FormatError",
    "Predictions",
    "Run",
    "SearchError",
    "SpaceError",
    "StorageError",
    "Trial",
    "Trials",
    "UsageError",
    "VerificationError",
    "load",
    "tune",
]
_MODULES = {
    "Callback": "api.events",
    "Epoch": "runs.records",
    "Export": "api.exported",
    "Predictions": "api.exported",
    "Run": "api.run",
    "Trial": "runs.records",
    "Trials": "api.trials",
    "load": "api.opening",
    "tune": "api.tuning",
}


def __getattr__(name: str) -> Any:
    """A public name, when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
