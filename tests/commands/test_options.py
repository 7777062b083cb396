"""What options say together: where trials are trained."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cnn_tuner.api.words import worker_options
from cnn_tuner.errors import UsageError
from cnn_tuner.executors import connecting
from cnn_tuner.runs.machine import Cluster


def asked(**options):
    return worker_options(None, "auto", 300.0, **options)


def test_a_cluster_is_asked_for_by_its_name_or_its_address(tmp_path):
    assert (asked().executor, asked().cluster) == ("processes", None)
    assert asked(executor="ray").cluster == Cluster()
    found = asked(address="auto", cpus_per_trial=4.0, gpus_per_trial=0.25, shared_dir=tmp_path)
    assert (found.executor, found.cluster) == ("ray", Cluster("auto", 4.0, 0.25, str(tmp_path)))
    assert asked(executor="ray", cpus_per_trial=0.0, gpus_per_trial=1.0).cluster == Cluster(None, 0.0, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": "dask"}, r"--executor: unknown: 'dask'; choices: processes, ray"),
        ({"executor": "inline"}, r"--executor: unknown: 'inline'; choices: processes, ray"),
        ({"executor": "processes", "address": "auto"}, r"--address: is for a cluster; add --executor ray"),
        ({"cpus_per_trial": 2.0}, r"--cpus-per-trial: is for a cluster; add --executor ray"),
        ({"gpus_per_trial": 2.0}, r"--gpus-per-trial: is for a cluster; add --executor ray"),
        ({"shared_dir": Path()}, r"--shared-dir: is for a cluster; add --executor ray"),
        ({"executor": "ray", "cpus_per_trial": -1.0}, r"--cpus-per-trial and --gpus-per-trial: must be >= 0, .* -1, 0"),
        ({"executor": "ray", "cpus_per_trial": 0.0}, r"--cpus-per-trial and --gpus-per-trial: must be >= 0, .* 0, 0"),
        ({"executor": "ray", "cpus_per_trial": float("nan")}, r"--cpus-per-trial and --gpus-per-trial: must be >= 0"),
        ({"executor": "ray", "gpus_per_trial": 1.5}, r"--gpus-per-trial: above 1 it must be a whole number, got 1.5"),
        (
            {"executor": "ray", "shared_dir": Path("nowhere")},
            r"--shared-dir nowhere: no such folder; it is one that all",
        ),
    ],
)
def test_what_of_a_cluster_is_refused(options, message):
    with pytest.raises(UsageError, match=f"^{message}"):
        asked(**options)


@pytest.mark.parametrize(
    ("cluster", "resources", "room"),
    [
        (Cluster(), {"CPU": 8.0}, 8),
        (Cluster(cpus_per_trial=3), {"CPU": 8.0, "GPU": 1.0}, 2),
        (Cluster(cpus_per_trial=1, gpus_per_trial=0.25), {"CPU": 16.0, "GPU": 2.0}, 8),
        (Cluster(cpus_per_trial=0.1), {"CPU": 0.3}, 3),
        (Cluster(cpus_per_trial=0, gpus_per_trial=1), {"CPU": 16.0}, 0),
        (Cluster(), {}, 0),
    ],
)
def test_a_node_of_a_cluster_has_room_for_so_many_trials(cluster, resources, room):
    assert cluster.room(resources) == room


def test_without_ray_a_cluster_is_refused_in_one_line(monkeypatch, cnn_tuner, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, error = cnn_tuner("tune", "--executor", "ray", "--max-trials", "1", "--runs", tmp_path)
    assert code == 2
    assert error.splitlines()[-1] == "error: --executor ray: needs ray; install it with pip install 'cnn-tuner[ray]'"
    assert error.count("\n") == 1, "no image was read"
    assert not list(tmp_path.glob("digits*")), "nothing was begun"


@pytest.mark.parametrize(
    "address", ["nowhere", "host:", ":6379", "host:port", "host:70000", "ray://host", "http://host"]
)
def test_what_is_no_address_of_a_cluster(address):
    told = rf"^--address: must be auto, HOST:PORT or ray://HOST:PORT, got '{address}'$"
    with pytest.raises(UsageError, match=told):
        connecting._check_address(address)


def test_a_cluster_that_is_not_there_is_told_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        for form in (address, f"ray://{address}"):
            told = rf"^--address {form}: no Ray cluster answers there \(Connection refused\)$"
            with pytest.raises(UsageError, match=told):
                connecting._check_address(form)
    connecting._check_address("auto")
