"""Ray, as it is loaded and reached: a cluster that somebody runs, or one that is made of this machine alone."""

from __future__ import annotations

import math
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cnn_tuner
from cnn_tuner.errors import UsageError
from cnn_tuner.executors.registry import check_installed
from cnn_tuner.runs.machine import Cluster

CONNECT_SECONDS = 10.0
ASK_SECONDS = 180.0  # at most, until nodes have answered: all of a node has to be free first
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
    """A node that is alive: its processors, GPUs and bytes of memory, and for how many trials it has room.

    `told` is what it answered, None where it was not asked or did not; `why_not` says why.
    """

    name: str
    cpus: float
    gpus: float
    memory: float
    room: int
    told: Any = None
    why_not: str = ""


def nodes(cluster: Cluster, ask: Callable[[int], Any] | None = None) -> list[Node]:
    """Those of a cluster.

    Args:
        cluster: which one.
        ask: called on each node that has room, all at once, with the number of trials that it has room for.

    Raises:
        UsageError: there is none at its address.
    """
    ray = load_ray(cluster)
    is_own = connect(ray, 0, cluster)
    try:
        alive = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: str(node["NodeName"]))
        told = {} if ask is None else _answers(ray, alive, cluster, ask)
    finally:
        if is_own:
            disconnect(ray, cluster)
    found = []
    for node in alive:
        cpus, gpus, memory = (float(node["Resources"].get(name, 0.0)) for name in ("CPU", "GPU", "memory"))
        answer, why_not = told.get(node["NodeID"], (None, ""))
        found.append(Node(node["NodeName"], cpus, gpus, memory, cluster.room(node["Resources"]), answer, why_not))
    return found


def _answers(ray: Any, alive: list[Any], cluster: Cluster, ask: Callable[[int], Any]) -> dict[str, tuple[Any, str]]:
    """What each node with room answers, or why it does not, by its own name; it is asked once all of it is free."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked, calls = ray.remote(_answer), {}
    for node in alive:
        known, room = node["Resources"], cluster.room(node["Resources"])
        if room:
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            options = {"num_cpus": known.get("CPU", 0.0), "num_gpus": known.get("GPU", 0.0), "max_retries": 0}
            calls[asked.options(scheduling_strategy=here, **options).remote(ask, room)] = node["NodeID"]
    done, late = ray.wait(list(calls), num_returns=len(calls), timeout=ASK_SECONDS) if calls else ([], [])
    told: dict[str, tuple[Any, str]] = {}
    for call in late:
        ray.cancel(call, force=True)
        told[calls[call]] = None, "it is busy"
    for call in done:
        try:
            told[calls[call]] = ray.get(call), ""
        except ray.exceptions.RayTaskError as error:
            told[calls[call]] = None, f"{type(error.cause).__name__}: {error.cause}"
        except ray.exceptions.RayError as error:
            told[calls[call]] = None, type(error).__name__
    return told


def _answer(ask: Callable[[int], Any], room: int) -> Any:
    """On a node."""
    return ask(room)
