"""What writing TensorBoard's logs costs: its share of the time of a real search, and what the best model's run takes.

    .venv/bin/python benchmarks/logs.py [--data digits] [--space quick] [--budget 90]

Every call that writes is timed in the driver while worker processes train. The share is of the search's wall clock; the
workers go on meanwhile, so that what it costs them is less.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from pathlib import Path
from typing import Any

from cnn_tuner.logs import best
from cnn_tuner.logs.trials import RunLogs
from cnn_tuner.report import page
from cnn_tuner.search.loop import Search
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.tuning import Request, Tuning

spent: dict[str, float] = {}
calls: dict[str, int] = {}


def timed(owner: Any, name: str, label: str) -> None:
    """Has a function add what it takes to `spent`."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapper(*args: Any, **settings: Any) -> Any:
        began = time.perf_counter()
        try:
            return original(*args, **settings)
        finally:
            spent[label] = spent.get(label, 0.0) + time.perf_counter() - began
            calls[label] = calls.get(label, 0) + 1

    setattr(owner, name, wrapper)


def main() -> None:
    parser = argparse.ArgumentParser(description="What writing TensorBoard's logs costs.")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--space", default="quick")
    parser.add_argument("--budget", type=float, default=90.0, help="seconds")
    asked = parser.parse_args()
    for name in ("epoch", "trial_ended", "progress", "front"):
        timed(RunLogs, name, f"logs: {name}")
    timed(Search, "run", "search")
    timed(best, "write", "best model's run")
    timed(page, "write", "report")
    with tempfile.TemporaryDirectory() as folder:
        request = Request(asked.data, asked.space, budget_seconds=asked.budget, runs=Path(folder))
        outcome = Tuning(request, Silent()).run()
    logs = sum(seconds for label, seconds in spent.items() if label.startswith("logs"))
    for label, seconds in spent.items():
        print(f"{label:<18} {seconds:8.3f} s  {calls[label]:6} calls")
    print(f"{len(outcome.trials)} trials: the logs take {100 * logs / spent['search']:.2f} % of the search")


if __name__ == "__main__":
    main()
