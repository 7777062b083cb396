"""Options that say which images are meant, and how they are read."""

from __future__ import annotations

from typing import Annotated

import typer

from cnn_tuner.commands import completing
from cnn_tuner.data.options import FITS
from cnn_tuner.metrics.tasks import TASKS

TaskOption = Annotated[
    str | None,
    typer.Option(
        autocompletion=completing.among(*TASKS),
        help="binary, multiclass, multilabel or regression. Default: seen from the labels.",
    ),
]
ImageSizeOption = Annotated[
    str | None, typer.Option(help="HEIGHTxWIDTH for image files. Default: from the images, at most 128x128.")
]
ChannelsOption = Annotated[
    int | None, typer.Option(help="1 (grey) or 3 (colour) for image files. Default: from the images.")
]
FitOption = Annotated[
    str,
    typer.Option(
        "--fit",
        autocompletion=completing.among(*FITS),
        help="What becomes of image files of another aspect: stretch, pad (black) or crop.",
    ),
]
SkipBrokenOption = Annotated[bool, typer.Option("--skip-broken", help="Skip images that cannot be read.")]
FollowLinksOption = Annotated[
    bool, typer.Option("--follow-links", help="Read what links in an image folder lead to, wherever it lies.")
]
LeaveOutOption = Annotated[
    list[str] | None, typer.Option("--leave-out", help="A folder in the image folder that is no data; repeatable.")
]
SplitOption = Annotated[
    str | None,
    typer.Option("--split", help="A file that says which image is in which part, as split.csv of every run does."),
]
AllowLeakageOption = Annotated[
    bool,
    typer.Option("--allow-leakage", help="Go on with images that are in two parts, pixel for pixel, left as they are."),
]
CacheOption = Annotated[
    str | None,
    typer.Option(
        "--cache",
        help="Folder of decoded images, for all runs. Default: $CNN_TUNER_CACHE, else ~/.cache/cnn_tuner/images.",
    ),
]
CacheLimitOption = Annotated[
    str | None,
    typer.Option(
        "--cache-limit",
        help="What it may take, such as 20GB; what was not used for longest goes first; 0 for no cache. "
        "Default: $CNN_TUNER_CACHE_LIMIT, else 50GB.",
    ),
]
ImageColumnOption = Annotated[
    str | None, typer.Option("--image-column", help="Of a table: the column with the paths of the images.")
]
LabelColumnOption = Annotated[
    list[str] | None, typer.Option("--label-column", help="Of a table: the column with the labels; repeatable.")
]
SplitColumnOption = Annotated[
    str | None, typer.Option("--split-column", help="Of a table: the column that says train, val or test.")
]
