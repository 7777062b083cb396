"""What was found about a data set, as lines and a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.markup import escape
from rich.table import Table

from cnn_tuner.audit.auditing import Audit
from cnn_tuner.audit.places import Place
from cnn_tuner.data.files import printable
from cnn_tuner.report.texts import shape
from cnn_tuner.runs.records import Baseline

MOST_ROWS = 30  # classes in a table
MOST_EXAMPLES = 3  # of each kind of what was found


def head(found: Audit) -> str:
    """What it is."""
    sizes = ", ".join(f"{count:,} {part}" for part, count in found.images.items())
    kind = {"multilabel": "labels", "regression": "targets"}.get(found.task, "classes")
    return f"{found.name}: {sizes} images of {shape(found.image_shape)}, {len(found.class_names)} {kind} ({found.task})"


def counts_table(found: Audit) -> Table | None:
    """How many images each class has; None of a regression."""
    if not all(found.counts.values()):
        return None
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("class", *found.counts):
        table.add_column(title, justify="left" if title == "class" else "right")
    for number, name in enumerate(found.class_names[:MOST_ROWS]):
        table.add_row(escape(printable(name)), *(f"{counts[number]:,}" for counts in found.counts.values()))
    if len(found.class_names) > MOST_ROWS:
        table.add_row(f"and {len(found.class_names) - MOST_ROWS} more")
    return table


def finding_lines(found: Audit) -> Iterator[str]:
    """A line for each kind of what was found, the gravest first; one that says so where nothing was."""
    lines = [
        _groups("leaks", "in several parts, pixel for pixel", found.leaks),
        _groups("labels", "equal images with different labels", found.contradictions),
        _groups("near", "pairs in two parts that show the same", found.near_leaks),
        _doubts(found),
        _groups("copies", "groups of equal images", found.copies),
        _groups("near", "pairs that show the same", found.near),
        _groups("constant", "images of a single colour", [(place,) for place in found.constant]),
    ]
    if found.imbalance is not None:
        lines.append(
            f"imbalance  the largest class has {found.imbalance:.0f} times as many training images as the smallest"
        )
    means = ", ".join(f"{mean:.1f}" for mean in found.means)
    lines.append(f"pixels     mean of each channel {means} of 255")
    if found.knows is not None:
        lines.append(f"labels     a simple model agrees with {found.knows:.1%} of them")
    yield from filter(None, lines)


def baseline_line(baselines: Sequence[Baseline]) -> str:
    """What simple models reach."""
    metric = next(iter(baselines[0].test))
    values = ((each.name, each.test[metric]) for each in baselines)
    told = ", ".join(f"{name} {'-' if value is None else format(value, '.4f')}" for name, value in values)
    return f"baselines  {metric} on the test part: {told}"


def _groups(title: str, what: str, groups: Sequence[Sequence[Place]]) -> str:
    if not groups:
        return ""
    examples = "; ".join(" = ".join(map(str, group[:MOST_EXAMPLES])) for group in groups[:MOST_EXAMPLES])
    return f"{title:<9}  {len(groups):,} {what}: {examples}{'; ...' if len(groups) > MOST_EXAMPLES else ''}"


def _doubts(found: Audit) -> str:
    if not found.doubts:
        return ""
    told = "; ".join(f"{e.place} is {e.given}, looks like {e.likely}" for e in found.doubts[:MOST_EXAMPLES])
    more = "; ..." if len(found.doubts) > MOST_EXAMPLES else ""
    knows = "" if found.knows is None else f", which agrees with {100 * found.knows:.0f} % of all"
    return f"{'doubts':<9}  {len(found.doubts):,} labels that a simple model doubts{knows}: {told}{more}"
