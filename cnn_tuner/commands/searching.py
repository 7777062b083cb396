"""The options that say what a search is: `tune` searches it, `plan` tells what it buys."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnn_tuner.api import asking
from cnn_tuner.api.words import HANG_SECONDS, RUNS
from cnn_tuner.commands import completing
from cnn_tuner.commands.data_options import (
    AllowLeakageOption,
    CacheLimitOption,
    CacheOption,
    ChannelsOption,
    FitOption,
    FollowLinksOption,
    ImageColumnOption,
    ImageSizeOption,
    LabelColumnOption,
    LeaveOutOption,
    SkipBrokenOption,
    SplitColumnOption,
    SplitOption,
    TaskOption,
)
from cnn_tuner.commands.options import (
    AddressOption,
    BudgetOption,
    CpusOption,
    ExecutorOption,
    FinalEpochsOption,
    GpusOption,
    JsonOption,
    MaxActivationOption,
    MaxEpochsOption,
    MaxLatencyOption,
    MaxMacsOption,
    MaxParamsOption,
    MaxTrialsOption,
    PrecisionOption,
    RunsOption,
    SharedDirOption,
    TimeoutOption,
    WorkersOption,
    command_line,
)

if TYPE_CHECKING:
    from cnn_tuner.search.tuning import Request


def takes_a_search(command: Callable[[Request, bool], None]) -> Callable[..., None]:
    """Gives a command the options of `_asked`: it is called with the request, and whether it prints for machines."""

    @functools.wraps(_asked)
    def run(*, no_refit: bool, as_json: bool, **given: Any) -> None:
        command(asking.request(**given, refit=not no_refit, command=command_line()), as_json)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def _asked(
    data: Annotated[
        str,
        typer.Option(
            autocompletion=completing.data,
            help="digits, fashion_mnist, mnist, cifar10, cifar100, idx:DIR, npz:FILE, npy:DIR, csv:FILE, "
            "archive:FILE, hf:DIR, tfds:NAME, python:MODULE:FUNCTION, or the path of a folder DIR/<class>/*.png, "
            "a table, an archive.",
        ),
    ] = "digits",
    space: Annotated[
        str | None,
        typer.Option(
            autocompletion=completing.spaces,
            help="auto, made for your images; a shipped space by name; a YAML file. Default: auto; quick for digits.",
        ),
    ] = None,
    hypermodel: Annotated[
        str | None,
        typer.Option(help="MODULE:NAME of a function build(hp) or a KerasTuner HyperModel: networks of your own."),
    ] = None,
    task: TaskOption = None,
    budget: BudgetOption = None,
    max_trials: MaxTrialsOption = None,
    max_epochs: MaxEpochsOption = None,
    max_params: MaxParamsOption = None,
    max_macs: MaxMacsOption = None,
    max_activation_bytes: MaxActivationOption = None,
    oracle: Annotated[
        str | None,
        typer.Option(
            autocompletion=completing.oracles, help="asha, random, grid, bayesian or hyperband. Default: the space's."
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            autocompletion=completing.among("tpe", "random"),
            help="Of asha: tpe or random. Default: the space's, or tpe.",
        ),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            autocompletion=completing.objectives,
            help="What to improve, e.g. val_balanced_accuracy or val_loss. Default: the task's.",
        ),
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option(
            "--and",
            autocompletion=completing.among("params", "macs", "latency"),
            help="A second objective, as small as can be: params, macs or latency (of asha).",
        ),
    ] = None,
    max_latency: MaxLatencyOption = None,
    finalists: Annotated[int, typer.Option(help="Trials that are trained to the end, at most.")] = 3,
    final_seeds: Annotated[
        int | None,
        typer.Option(help="Seeds with which each of them is trained, at most. Default: 3, or one for each fold."),
    ] = None,
    final_epochs: FinalEpochsOption = None,
    no_refit: Annotated[
        bool, typer.Option("--no-refit", help="Export the winner without training it again on train and validation.")
    ] = False,
    prefer: Annotated[
        str,
        typer.Option(
            autocompletion=completing.among("accurate", "small"),
            help="accurate, or small: the smallest finalist that is about as good as the best wins.",
        ),
    ] = "accurate",
    seed: Annotated[int, typer.Option(help="The same seed gives the same trials and scores.")] = 0,
    val_fraction: Annotated[
        float | None,
        typer.Option(help="Share for validation, where the data has no such part. Default: 0.15, up to 5,000 images."),
    ] = None,
    test_fraction: Annotated[float, typer.Option(help="Share for the test, where the data has no such part.")] = 0.2,
    folds: Annotated[
        int | None,
        typer.Option(help="For few images: score each trial by so many networks, each validated on another fold."),
    ] = None,
    image_size: ImageSizeOption = None,
    channels: ChannelsOption = None,
    fit: FitOption = "stretch",
    skip_broken: SkipBrokenOption = False,
    follow_links: FollowLinksOption = False,
    leave_out: LeaveOutOption = None,
    image_column: ImageColumnOption = None,
    label_column: LabelColumnOption = None,
    split_column: SplitColumnOption = None,
    group_column: Annotated[
        str | None,
        typer.Option("--group-column", help="Of a table: images with the same there stay on one side of a split."),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option("--group-by", help="A regular expression: image files in whose paths it finds the same do, too."),
    ] = None,
    split: SplitOption = None,
    allow_leakage: AllowLeakageOption = False,
    cache: CacheOption = None,
    cache_limit: CacheLimitOption = None,
    keep: Annotated[int, typer.Option(help="Training states to keep on disk: those of the best trials.")] = 3,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            autocompletion=completing.formats,
            help="Exported beside the SavedModel, with commas: keras, litert, litert_int8, onnx.",
        ),
    ] = None,
    workers: WorkersOption = None,
    executor: ExecutorOption = None,
    address: AddressOption = None,
    cpus_per_trial: CpusOption = None,
    gpus_per_trial: GpusOption = None,
    shared_dir: SharedDirOption = None,
    precision: PrecisionOption = "auto",
    timeout: TimeoutOption = HANG_SECONDS,
    name: Annotated[str | None, typer.Option(help="The run's name. Default: data-space-number.")] = None,
    runs: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Only its signature counts: typer reads it, and `asking.request` has the same keywords."""
