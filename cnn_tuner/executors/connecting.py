"""Ray, as it is loaded and reached: a cluster that somebody runs, or one that is made of this machine alone."""

from __future__ import annotations

import math
import os
import secrets
import signal
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cnn_tuner
from cnn_tuner.errors import UsageError
from cnn_tuner.executors.registry import check_installed
from cnn_tuner.runs.machine import Cluster

CONNECT_SECONDS = 10.0
AUTH_MODE, AUTH_TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"  # environment variables of Ray
_MADE: dict[str, str] = {}  # what they were set to here: Ray reads them once in a process


def load_ray(cluster: Cluster) -> Any:
    """Ray, which must be told before it is loaded to be quiet, to stay on this machine, and whom to let in.

    Of a cluster of this machine that is this process alone, by a token that is written nowhere: without one Ray makes a
    token for all clusters of this user, in a file that everybody may read.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    if cluster.address is None and "ray" not in sys.modules and not {AUTH_MODE, AUTH_TOKEN} & os.environ.keys():
        _MADE.update({AUTH_MODE: "token", AUTH_TOKEN: secrets.token_hex(32)})
    if cluster.address is None:
        os.environ.update(_MADE)
    check_installed("ray")
    import ray

    return ray


def connect(ray: Any, slots: int, cluster: Cluster) -> bool:
    """Reaches the cluster, or makes one of this machine; whether that is to be ended here.

    Raises:
        UsageError: there is none at the address.
    """
    if ray.is_initialized():  # by who has called this
        return False
    stopping = _stop_handler()
    try:
        _init(ray, slots, cluster)
    finally:
        if stopping is not None:
            signal.signal(signal.SIGTERM, stopping)
    return True


def _stop_handler() -> Any:
    """What SIGTERM does now, which Ray would have end the process at once; None where it cannot be changed."""
    is_main = threading.current_thread() is threading.main_thread()
    return signal.getsignal(signal.SIGTERM) if is_main else None


def disconnect(ray: Any, cluster: Cluster) -> None:
    """Leaves the cluster, and ends one that was made here, whose token is then of no use."""
    ray.shutdown()
    if cluster.address is None:
        for name in _MADE:
            os.environ.pop(name, None)


def _init(ray: Any, slots: int, cluster: Cluster) -> None:
    quiet = {"log_to_driver": False, "configure_logging": False}
    with suppress(AttributeError):  # what it says of workers that died is told here; no option keeps it quiet
        ray._private.worker._worker_logs_enabled = False
    if cluster.address is None:
        cpus = max(1, math.ceil(max(1, slots) * cluster.cpus_per_trial))
        # By its own word: without an address another cluster of this machine would be joined.
        ray.init("local", include_dashboard=False, _node_ip_address="127.0.0.1", num_cpus=cpus, **quiet)
        return
    _check_address(cluster.address)
    package = Path(cnn_tuner.__file__).parent
    attempts = 2 if cluster.address.startswith("ray://") else 1  # a client's server may be slow to start the first time
    for attempt in range(1, attempts + 1):
        try:
            ray.init(address=cluster.address, runtime_env={"py_modules": [str(package)]}, **quiet)
            break
        except Exception as error:
            if attempt == attempts:
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise UsageError(f"--address {cluster.address}: no Ray cluster answers there ({reason})") from error


def _check_address(address: str) -> None:
    """Return if somebody listens there: Ray itself would try for many minutes.

    Raises:
        UsageError: nobody does, or it is no address.
    """
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise UsageError(f"--address: must be auto, HOST:PORT or ray://HOST:PORT, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"--address {address}: no Ray cluster answers there ({reason})") from error


@dataclass(frozen=True)
class Node:
    """A node that is alive: its processors, GPUs and bytes of memory, and for how many trials it has room."""

    name: str
    cpus: float
    gpus: float
    memory: float
    room: int


def nodes(cluster: Cluster) -> list[Node]:
    """Those of a cluster.

    Raises:
        UsageError: there is none at its address.
    """
    ray = load_ray(cluster)
    is_own = connect(ray, 0, cluster)
    try:
        found = [(node["NodeName"], node["Resources"]) for node in ray.nodes() if node["Alive"]]
    finally:
        if is_own:
            disconnect(ray, cluster)
    return [
        Node(name, known.get("CPU", 0.0), known.get("GPU", 0.0), known.get("memory", 0.0), cluster.room(known))
        for name, known in sorted(found, key=lambda each: each[0])
    ]
