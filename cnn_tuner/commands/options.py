"""Options that several commands have, and how their words are read."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnn_tuner.errors import UsageError

if TYPE_CHECKING:
    from cnn_tuner.metrics.tasks import Output
    from cnn_tuner.runs.machine import Cluster, Workers
    from cnn_tuner.runs.store import RunStore


RunsOption = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]
RunArgument = Annotated[str | None, typer.Argument(help="A run's name or folder. Default: the newest run.")]
MODEL_HELP = "A run's name, or the folder of an export or of its versions. Default: the newest run."
ModelArgument = Annotated[str | None, typer.Argument(metavar="RUN|EXPORT", help=MODEL_HELP)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
RUNS = Path("runs")
HANG_SECONDS = 300.0  # machine.HANG_SECONDS, whose module would slow --help down
WorkersOption = Annotated[
    str | None,
    typer.Option(
        "--workers",
        help="Processes that train at once, or auto: what this machine is measured to train fastest with. "
        "Default: auto, for a search of less than two minutes one a core.",
    ),
]
ExecutorOption = Annotated[
    str | None,
    typer.Option("--executor", help="processes of this machine, or ray: a cluster (pip install 'cnn-tuner[ray]')."),
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", help="Of a Ray cluster: auto, HOST:PORT or ray://HOST:PORT. Default: one made here."),
]
CpusOption = Annotated[float | None, typer.Option("--cpus-per-trial", help="Of a node of the cluster. Default: 1.")]
GpusOption = Annotated[
    float | None, typer.Option("--gpus-per-trial", help="The same; 0.25 has four trials share one. Default: 0.")
]
SharedDirOption = Annotated[
    Path | None,
    typer.Option("--shared-dir", help="A folder that all nodes see, for images too large to be sent to each."),
]
PrecisionOption = Annotated[
    str, typer.Option("--precision", help="float32, bfloat16, or auto: what this machine trains fastest with.")
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", help="Seconds without progress after which a trial's process is ended.")
]
BudgetOption = Annotated[
    str | None,
    typer.Option("--budget", help="Active time in all, export included: 90s, 30m, 1h30m. Default: the space's."),
]
MaxTrialsOption = Annotated[
    int | None, typer.Option("--max-trials", help="Points to try; without --budget no time ends the search.")
]
MaxEpochsOption = Annotated[
    int | None, typer.Option("--max-epochs", "--epochs", help="Epochs for one trial at most. Default: the space's.")
]
FinalEpochsOption = Annotated[
    int | None, typer.Option(help="Epochs for a finalist at most, the search's included. Default: 3 x --max-epochs.")
]
MaxParamsOption = Annotated[int | None, typer.Option(help="Parameters of a model at most. Default: the space's limit.")]
MaxMacsOption = Annotated[int | None, typer.Option(help="Multiply-adds for one image at most.")]
MaxActivationOption = Annotated[
    int | None, typer.Option(help="Input plus output of one layer at most, for one image in float32, in bytes.")
]
MaxLatencyOption = Annotated[
    str | None,
    typer.Option("--max-latency", help="Time for one image at most, measured on this machine: 2ms, 0.5s."),
]


def latency_seconds(text: str | None) -> float | None:
    """`2ms` in seconds."""
    import re

    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", text)
    if found is None or float(found[1]) == 0:
        raise UsageError(f"--max-latency: must be a time above 0 such as 2ms or 0.5s, got {text!r}")
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def budget_seconds(flag: str, text: str | None) -> float | None:
    """`30m` in seconds."""
    from cnn_tuner.runs.budget import parse_seconds

    return None if text is None else parse_seconds(flag, text)


def limits(max_params: int | None, max_macs: int | None, max_activation_bytes: int | None) -> Any:
    """The limits that were asked for beside those of the space."""
    from cnn_tuner.spaces.rules import Limits

    given = {"max_params": max_params, "max_macs": max_macs, "max_activation_bytes": max_activation_bytes}
    for name, value in given.items():
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')}: must be a whole number >= 1, got {value}")
    return Limits(**given)


def command_line() -> str:
    """The command as it was typed."""
    return shlex.join(["cnn-tuner", *sys.argv[1:]])


def check_precision(text: str) -> Any:
    if text not in ("auto", "float32", "bfloat16"):
        raise UsageError(f"--precision: unknown: {text!r}; choices: auto, float32, bfloat16")
    return text


def check_prefer(text: str) -> Any:
    if text not in ("accurate", "small"):
        raise UsageError(f"--prefer: unknown: {text!r}; choices: accurate, small")
    return text


def worker_options(
    workers: str | None,
    precision: str,
    timeout: float,
    executor: str | None = None,
    address: str | None = None,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
    shared_dir: Path | None = None,
) -> Workers:
    """The flags that say with what a run is trained; `auto` is left to be chosen."""
    from cnn_tuner.runs.machine import Workers

    count = None
    if workers is not None and workers != "auto":
        if not (workers.isdecimal() and int(workers) > 0):
            raise UsageError(f"--workers: must be a whole number >= 1, or auto, got {workers!r}")
        count = int(workers)
    if not timeout > 0:
        raise UsageError(f"--timeout: must be a number of seconds above 0, got {timeout:g}")
    cluster = _cluster(executor, address, cpus_per_trial, gpus_per_trial, shared_dir)
    return Workers(
        count=count,
        precision=None if check_precision(precision) == "auto" else check_precision(precision),
        hang_seconds=timeout,
        executor="processes" if cluster is None else "ray",
        cluster=cluster,
        must_measure=workers == "auto",
    )


def _cluster(
    executor: str | None,
    address: str | None,
    cpus_per_trial: float | None,
    gpus_per_trial: float | None,
    shared_dir: Path | None,
) -> Cluster | None:
    """Where trials are trained on Ray; None where they are not."""
    from cnn_tuner.executors.registry import choose
    from cnn_tuner.runs.machine import Cluster

    chosen = choose(executor, "processes" if address is None else "ray")
    given = {
        "--address": address,
        "--cpus-per-trial": cpus_per_trial,
        "--gpus-per-trial": gpus_per_trial,
        "--shared-dir": shared_dir,
    }
    if chosen != "ray":
        for flag, value in given.items():
            if value is not None:
                raise UsageError(f"{flag}: is for a cluster; add --executor ray")
        return None
    cpus, gpus = 1.0 if cpus_per_trial is None else cpus_per_trial, gpus_per_trial or 0.0
    if not (0 <= cpus < math.inf and 0 <= gpus < math.inf and cpus + gpus > 0):
        raise UsageError(
            f"--cpus-per-trial and --gpus-per-trial: must be >= 0, one of them above, got {cpus:g}, {gpus:g}"
        )
    for flag, value in (("--cpus-per-trial", cpus), ("--gpus-per-trial", gpus)):
        if value > 1 and value != int(value):
            raise UsageError(f"{flag}: above 1 it must be a whole number, got {value:g}")
    if shared_dir is not None and not shared_dir.is_dir():
        raise UsageError(f"--shared-dir {shared_dir}: no such folder; it is one that all nodes see")
    return Cluster(address, cpus, gpus, None if shared_dir is None else str(shared_dir.absolute()))


def sizes(flag: str, text: str, count: int) -> Any:
    """`28x28x1` as a tuple of whole numbers."""
    parts = text.lower().split("x")
    if len(parts) != count or not all(part.isdecimal() and int(part) > 0 for part in parts):
        form = "x".join(("HEIGHT", "WIDTH", "CHANNELS")[:count])
        raise UsageError(f"{flag}: must be {form} in whole numbers >= 1, got {text!r}")
    return tuple(map(int, parts))


def multiclass(classes: int) -> Output:
    from cnn_tuner.metrics.tasks import Output

    if classes < 2:
        raise UsageError(f"--classes: must be a whole number >= 2, got {classes}")
    return Output("multiclass", classes)


def open_run(folder: Path, name: str | None) -> RunStore:
    """The run called `name` in `folder`; without a name, the newest."""
    from cnn_tuner.runs import folders
    from cnn_tuner.runs.store import RunStore

    return RunStore.open(folders.find_run(folder, name))


def open_export(folder: Path, name: str | None) -> Path:
    """The folder of the export that `name` leads to, or of the newest that the run called so has."""
    from cnn_tuner.runs import folders

    found = None if name is None else folders.find_export(folder, name)
    return open_run(folder, name).latest_export() if found is None else found
