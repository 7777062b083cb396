"""cnn-tuner data: a look at images and labels before anything is trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnn_tuner.api.words import cache_options, sizes
from cnn_tuner.commands import completing
from cnn_tuner.commands.data_options import (
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
    TaskOption,
)
from cnn_tuner.commands.options import JsonOption
from cnn_tuner.commands.output import say
from cnn_tuner.errors import DataError, UsageError, storage_error
from cnn_tuner.metrics import strict_json
from cnn_tuner.terminal.screen import console

if TYPE_CHECKING:
    from cnn_tuner.audit.auditing import Audit
    from cnn_tuner.data.dataset import Parts
    from cnn_tuner.data.options import DataOptions
    from cnn_tuner.metrics.tasks import Output
    from cnn_tuner.runs.records import Baseline
    from cnn_tuner.spaces.tree import SearchSpace

AUGMENTED = 6  # images that are shown as training sees them
DRAWS = 12  # points of a space, whose changes are shown


def data(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            autocompletion=completing.data,
            help="What --data of cnn-tuner tune would be: photos/, labels.csv, digits.",
        ),
    ],
    task: TaskOption = None,
    image_size: ImageSizeOption = None,
    channels: ChannelsOption = None,
    fit: FitOption = "stretch",
    skip_broken: SkipBrokenOption = False,
    follow_links: FollowLinksOption = False,
    leave_out: LeaveOutOption = None,
    image_column: ImageColumnOption = None,
    label_column: LabelColumnOption = None,
    split_column: SplitColumnOption = None,
    seed: Annotated[int, typer.Option(help="Decides the test part of what simple models reach.")] = 0,
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="SPACE",
            autocompletion=completing.spaces,
            help="With --page: show what this space's training will see.",
        ),
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Write a page of pictures for a browser, such as data.html.")
    ] = None,
    cache: CacheOption = None,
    cache_limit: CacheLimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at images and labels: counts, copies, leaks between parts, wrong labels, and what simple models reach.

    No network is trained, and nothing is changed.
    """
    from cnn_tuner.audit.auditing import audit
    from cnn_tuner.data import registry
    from cnn_tuner.data.options import DataOptions

    if augment is not None and page is None:
        raise UsageError("--augment: is for pictures; name their page with --page data.html")
    options = DataOptions(
        task=task,
        seed=seed,
        image_size=None if image_size is None else sizes("--image-size", image_size, 2),
        channels=channels,
        fit=fit,
        skip_broken=skip_broken,
        follow_links=follow_links,
        leave_out=tuple(leave_out or ()),
        image_column=image_column,
        label_columns=tuple(label_column or ()),
        split_column=split_column,
        allow_leakage=True,
    )
    kept = cache_options(cache, cache_limit)
    parts = registry.load_parts(source, options, kept)
    found = audit(parts, seed)
    baselines = _baselines(parts, options)
    changed = {} if augment is None else _augmented(parts, augment, options)
    if page is not None:
        _write(found, parts, page, baselines, changed)
    if as_json:
        facts: dict[str, Any] = found.to_dict() | {"page": None if page is None else str(page)}
        facts["baselines"] = {each.name: each.test for each in baselines}
        print(strict_json.dumps(facts))
        return
    _show(found, baselines, page)


def _baselines(parts: Parts, options: DataOptions) -> tuple[Baseline, ...]:
    """What simple models reach on a split as a run would make it; nothing where the images are too few for one."""
    from cnn_tuner.baselines import registry
    from cnn_tuner.data.assembling import divided

    try:
        dataset = divided(parts, options)
    except DataError:
        return ()
    return registry.measure(dataset, options.seed)


def _augmented(parts: Parts, name: str, options: DataOptions) -> dict[str, Any]:
    from cnn_tuner.metrics.tasks import Output
    from cnn_tuner.spaces import architecture, tree
    from cnn_tuner.spaces.recipe import recipe_of
    from cnn_tuner.training import augmenting

    output = Output(parts.task, 1 if parts.task == "binary" else len(parts.class_names))
    space = _made_for(parts, output, options) if name == tree.AUTO else tree.load(name)
    points = architecture.sample_feasible(space, parts.image_shape, output, DRAWS, options.seed)
    asked = {recipe_of(point).augmentation for point in points}
    train = parts.parts["train"].x
    return augmenting.seen(train[:: max(1, len(train) // AUGMENTED)][:AUGMENTED], sorted(asked, key=str))


def _made_for(parts: Parts, output: Output, options: DataOptions) -> SearchSpace:
    from cnn_tuner.data.assembling import divided
    from cnn_tuner.metrics.tasks import choose_objective
    from cnn_tuner.search import fitting
    from cnn_tuner.spaces.rules import Limits

    metric = choose_objective(parts.task, None).metric
    return fitting.space_for(divided(parts, options), output, metric, options.seed, Limits(), None, None)


def _write(found: Audit, parts: Parts, page: Path, baselines: tuple[Baseline, ...], changed: dict[str, Any]) -> None:
    from cnn_tuner.report import data_page

    try:
        data_page.write(found, parts.parts, page, baselines, changed)
    except OSError as error:
        raise storage_error(error, page) or UsageError(f"--page {page}: cannot be written ({error})") from error


def _show(found: Audit, baselines: tuple[Baseline, ...], page: Path | None) -> None:
    from cnn_tuner.terminal import data_table

    say(data_table.head(found))
    for note in found.notes:
        say(f"  {note}")
    table = data_table.counts_table(found)
    if table is not None:
        console().print(table)
    for line in data_table.finding_lines(found):
        say(line)
    if baselines:
        say(data_table.baseline_line(baselines))
    say(f"page       {page}" if page is not None else "next       --page data.html shows all of it as pictures")
