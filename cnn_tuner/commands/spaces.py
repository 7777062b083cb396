"""cnn-tuner spaces: list, show and sample search spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cnn_tuner.api.words import sizes
from cnn_tuner.commands import completing
from cnn_tuner.commands.options import multiclass
from cnn_tuner.commands.output import say
from cnn_tuner.terminal.screen import console

if TYPE_CHECKING:
    from cnn_tuner.metrics.tasks import Output
    from cnn_tuner.spaces.tree import SearchSpace


def spaces(
    space: Annotated[
        str | None,
        typer.Argument(
            metavar="SPACE", autocompletion=completing.spaces, help="A shipped space by name, or a YAML file."
        ),
    ] = None,
    sample: Annotated[int, typer.Option(help="Draw this many feasible points, and show them.")] = 0,
    image: Annotated[str, typer.Option(help="HEIGHTxWIDTHxCHANNELS that points must be feasible for.")] = "28x28x1",
    classes: Annotated[int, typer.Option(help="Units of the last layer, for the sampled points.")] = 10,
    seed: Annotated[int, typer.Option(help="Decides which points are drawn.")] = 0,
) -> None:
    """List the search spaces; with a name, show one with its size, or sample it."""
    from rich.table import Table

    from cnn_tuner.spaces import tree
    from cnn_tuner.terminal import tables

    if space is None:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("space", "points", "purpose"):
            table.add_column(title, no_wrap=title != "purpose")
        table.add_row(tree.AUTO, "", "Made for the images of a run: its depth by their size, flips if they allow them.")
        for each in map(tree.load, tree.shipped_names()):
            table.add_row(each.name, str(each.size()), each.description)
        console().print(table)
        return
    chosen = tree.load(space)
    shape, output = sizes("--image", image, 3), multiclass(classes)
    if sample:
        _say_points(chosen, sample, shape, output, seed)
        return
    feasible = tables.feasible_line(chosen, shape, output)
    say(f"{chosen.name}: {chosen.description}")
    say(feasible)
    console().print()
    console().print(tables.space_table(chosen))


def _say_points(chosen: SearchSpace, count: int, shape: tuple[int, int, int], output: Output, seed: int) -> None:
    from cnn_tuner.report import texts
    from cnn_tuner.spaces import architecture

    for point in architecture.sample_feasible(chosen, shape, output, count, seed):
        plan = architecture.build(point, shape, output)
        say(f"{plan.params:>10,} params  {plan.macs:>12,} multiply-adds  {texts.summary(point)}")
