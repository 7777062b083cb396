"""Options that several commands have; how their words are read is in `cnn_tuner.api.words`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnn_tuner.commands import completing
from cnn_tuner.errors import UsageError

if TYPE_CHECKING:
    from cnn_tuner.metrics.tasks import Output
    from cnn_tuner.runs.store import RunStore


RunsOption = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]
RunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN", autocompletion=completing.runs, help="A run's name or folder. Default: the newest run."
    ),
]
MODEL_HELP = "A run's name, or the folder of an export or of its versions. Default: the newest run."
ModelArgument = Annotated[
    str | None, typer.Argument(metavar="RUN|EXPORT", autocompletion=completing.runs, help=MODEL_HELP)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
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
    typer.Option(
        "--executor",
        autocompletion=completing.among("processes", "ray"),
        help="processes of this machine, or ray: a cluster (pip install 'cnn-tuner[ray]').",
    ),
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
    str,
    typer.Option(
        "--precision",
        autocompletion=completing.among("auto", "float32", "bfloat16"),
        help="float32, bfloat16, or auto: what this machine trains fastest with.",
    ),
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


def command_line() -> str:
    """The command as it was typed."""
    return shlex.join(["cnn-tuner", *sys.argv[1:]])


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
