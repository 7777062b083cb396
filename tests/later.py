"""Values of a parametrized test that `make test` leaves to `make test-all`: others there have the same code run."""

from __future__ import annotations

from typing import Any

import pytest


def later(*values: Any) -> Any:
    """One case, as pytest.param."""
    return pytest.param(*values, marks=pytest.mark.slow)
