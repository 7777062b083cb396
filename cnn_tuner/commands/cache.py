"""cnn-tuner cache: the decoded images that runs share, shown and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cnn_tuner.api.words import cache_options
from cnn_tuner.commands.data_options import CacheLimitOption, CacheOption
from cnn_tuner.commands.options import JsonOption
from cnn_tuner.commands.output import say
from cnn_tuner.errors import UsageError
from cnn_tuner.metrics import strict_json
from cnn_tuner.terminal.screen import console

if TYPE_CHECKING:
    from cnn_tuner.data.cache import Entry


def cache(
    remove: Annotated[list[str] | None, typer.Option(help="Remove an entry by its key; repeatable.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all that is not in use.")] = False,
    folder: CacheOption = None,
    limit: CacheLimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the decoded images that are kept for further runs; --remove KEY or --clear deletes them."""
    found = cache_options(folder, limit)
    if found is None:
        raise UsageError("--cache-limit: is 0, so that there is no cache")
    entries = found.entries()
    known = [entry.key for entry in entries]
    for key in remove or ():
        if key not in known:
            raise UsageError(
                f"--remove: {found.folder} has no such entry: {key!r}; cnn-tuner cache shows what is there"
            )
    gone = [key for key in (known if clear else remove or ()) if found.remove(key)]
    in_use = [key for key in (known if clear else remove or ()) if key not in gone]
    entries = [entry for entry in entries if entry.key not in gone]
    taken = sum(entry.bytes for entry in entries)
    if as_json:
        facts = [{"key": each.key, "what": each.what, "bytes": each.bytes, "used": each.used} for each in entries]
        print(strict_json.dumps({"folder": str(found.folder), "bytes": taken, "limit": found.limit, "entries": facts}))
        return
    _show(entries)
    for key in in_use:
        say(f"{key}: a run is at work with it; left as it is")
    removed = f"removed {len(gone)}; " if gone else ""
    say(f"{removed}{found.folder}: {_gigabytes(taken)} of at most {_gigabytes(found.limit)}")


def _show(entries: list[Entry]) -> None:
    from datetime import datetime

    from rich.table import Table

    from cnn_tuner.data.files import printable

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("key", "size", "last used", "images of"):
        table.add_column(title, no_wrap=True, justify="right" if title == "size" else "left")
    for entry in entries:
        used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
        table.add_row(entry.key, _gigabytes(entry.bytes), used, printable(entry.what))
    if entries:
        console().print(table)


def _gigabytes(size: int) -> str:
    return f"{size / 10**9:.1f} GB" if size >= 10**9 else f"{size / 10**6:.0f} MB"
