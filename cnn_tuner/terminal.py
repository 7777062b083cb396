"""How runs, spaces and architectures look in a terminal. Builds text and tables; only the command line prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from cnn_tuner.architecture import STEPS, Architecture, Layer, check_feasible, padding_pixels
from cnn_tuner.data.dataset import Dataset
from cnn_tuner.recipe import Recipe, recipe_of
from cnn_tuner.records import Trial, Winner, ranked
from cnn_tuner.session import Outcome
from cnn_tuner.space import Point, SearchSpace
from cnn_tuner.tasks import Objective, Output


def duration(seconds: float) -> str:
    """`0:07`, `3:20` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: int) -> str:
    """`12 MB`, `1.4 GB`."""
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{max(1, round(count / 2**20))} MB"


def shape(sizes: Sequence[int]) -> str:
    """`28x28x1`."""
    return "x".join(str(size) for size in sizes)


def score(value: float | None) -> str:
    """Four places, as many as differ between trials; a dash where there is none."""
    return "-" if value is None else f"{value:.4f}" if abs(value) < 1000 else f"{value:.6g}"


def metric(name: str, value: float, interval: Sequence[float] | None = None) -> str:
    """`accuracy 0.9889 (95 % interval 0.972 to 0.996)`; without an interval, `accuracy 0.9889`."""
    told = f"{name} {score(value)}"
    if interval is None:
        return told
    form = ".3f" if name in ("accuracy", "auc") else ".4g"
    low, high = (format(end, form) for end in interval)
    return f"{told} (95 % interval {low} to {high})"


SUMMARY_LEGEND = "2*16k3s2p2: twice 16 kernels of 3x3, strides 2, then a pool of 2x2; lr: learning rate"


def summary(values: Point) -> str:
    """A point in one line: blocks, dense layers, then how it is trained: `32k3-48k3 | 128 | lr 0.0012, batch 32`."""
    blocks = "-".join(_block(values, f"block_{i}") for i in range(1, int(values["blocks"]) + 1))
    dense = " ".join(str(values[f"dense_{i}.units"]) for i in range(1, int(values["dense_layers"]) + 1))
    return f"{blocks} | {dense or 'no dense'} | {_trained(recipe_of(values))}"


def _trained(recipe: Recipe) -> str:
    """How a point is trained; what is as it would be if nothing was said is left out."""
    rate = f"lr {recipe.learning_rate:.2g}{'' if recipe.schedule == 'constant' else f' {recipe.schedule}'}"
    plain = Recipe(recipe.learning_rate, recipe.batch_size)
    optimizer = [] if recipe.optimizer == plain.optimizer else [recipe.optimizer]
    titles = {"warmup": "warm-up", "weight_decay": "decay", "label_smoothing": "smoothing"}
    numbers = [f"{title} {getattr(recipe, name):.2g}" for name, title in titles.items() if getattr(recipe, name) > 0]
    augmentation = asdict(recipe.augmentation)
    changes = [name for name, value in asdict(plain.augmentation).items() if augmentation[name] != value]
    augmented = [f"augmented: {' '.join(changes)}"] if changes else []
    return ", ".join([*optimizer, rate, f"batch {recipe.batch_size}", *numbers, *augmented])


def _block(values: Point, name: str) -> str:
    of = {key: values[f"{name}.{key}"] for key in ("convolutions", "filters", "kernel_size", "strides", "pool_size")}
    times = f"{of['convolutions']}*" if of["convolutions"] != 1 else ""
    strides = f"s{of['strides']}" if of["strides"] != 1 else ""
    pool = f"p{of['pool_size']}" if of["pool_size"] != 1 else ""
    return f"{times}{of['filters']}k{of['kernel_size']}{strides}{pool}"


def describe_data(dataset: Dataset) -> list[str]:
    """What was loaded, and what was noticed."""
    sizes = ", ".join(f"{len(part):,} {name}" for name, part in _parts(dataset))
    kinds = {"multilabel": "labels", "regression": "targets"}.get(dataset.task, "classes")
    head = f"{dataset.name}: {sizes} images of {shape(dataset.image_shape)}, {len(dataset.class_names)} {kinds}"
    return [f"{head} ({dataset.task})", *(f"  {note}" for note in dataset.notes)]


def _parts(dataset: Dataset) -> list[tuple[str, Any]]:
    return [("training", dataset.train), ("validation", dataset.val), ("test", dataset.test)]


def trials_table(trials: Iterable[Trial], objective: Objective, limit: int | None = None) -> Table:
    """Trials as rows, the best first, failed ones last with their reason."""
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        caption=SUMMARY_LEGEND,
        caption_justify="left",
        caption_style="dim",
    )
    for title in ("trial", objective.name, "epoch", "params", "multiply-adds", "time"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("blocks | dense | training", overflow="fold")
    for trial in ranked(trials, objective)[:limit]:
        what = f"failed: {trial.message}" if trial.status == "failed" else summary(trial.values)
        if trial.status in ("running", "stopped"):
            what = f"{trial.status} after {len(trial.epochs)} epochs: {what}"
        epoch = "-" if trial.best_epoch is None else str(trial.best_epoch)
        cells = (str(trial.number), score(trial.score), epoch, f"{trial.params:,}", f"{trial.macs:,}")
        table.add_row(*cells, duration(trial.seconds), escape(what))
    return table


def finalists_table(winner: Winner, objective: str) -> Table:
    """Those that were trained to the end, the winner first: what the search measured, and each seed's score."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("finalist", "params", f"{objective} in the search", "mean of its seeds", "+-"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("each seed, its own first")
    for each in sorted(winner.finalists, key=lambda each: each.trial != winner.trial):
        numbers = (score(each.search_score), score(each.mean), score(each.spread))
        table.add_row(str(each.trial), f"{each.params:,}", *numbers, " ".join(map(score, each.scores)))
    return table


def winner_lines(winner: Winner, objective: str) -> list[str]:
    """The winner and its scores side by side: of the search, after retraining, as exported, on the test part."""
    test = ", ".join(metric(name, value, winner.test_intervals.get(name)) for name, value in winner.test.items())
    trained = f"{_retrained(winner)} (best: epoch {winner.best_epoch} of {winner.epochs})"
    in_float32 = f"{score(winner.float32_score)} as exported"
    looks = "looked at once" if winner.looks == 1 else f"looked at {winner.looks} times: once for each winner so far"
    lines = [
        f"winner    trial {winner.trial}: {winner.params:,} parameters, {winner.macs:,} multiply-adds an image",
        f"scores    {objective} {score(winner.search_score)} in the search, {trained}, {in_float32}",
        f"test      {test} on {winner.test_images:,} images, {looks}",
    ]
    return [*lines[:1], *_chosen_lines(winner), *lines[1:]]


def _retrained(winner: Winner) -> str:
    """What training to the end reached: with one seed, or its mean and spread over several and the best of them."""
    found = winner.finalist
    if found is None or found.spread is None:
        return f"{score(winner.score)} after training on"
    mean = f"{score(found.mean)} +- {score(found.spread)} trained to the end with {len(found.scores)} seeds"
    return f"{mean}, {score(winner.score)} the best of them"


def _chosen_lines(winner: Winner) -> list[str]:
    """Over which other finalists the winner was preferred."""
    others = [each for each in winner.finalists if each.trial != winner.trial]
    if not others:
        return []
    own = winner.finalist
    told = "; ".join(f"trial {each.trial} {score(each.mean)}, {each.params:,} parameters" for each in others)
    better = [] if own is None else [each for each in others if each.mean > own.mean]
    is_smaller = own is not None and bool(better) and all(own.params < each.params for each in better)
    reason = " (not told apart by one standard error: the smaller model wins)" if is_smaller else ""
    return [f"over      {told}{reason}"]


def verified_line(differences: dict[str, float]) -> str:
    """What the verification of an export found."""
    worst = max(differences.values())
    return f"verified  new processes predict the same from it and from best.keras (largest difference {worst:.1g})"


def outcome_lines(outcome: Outcome, program: str) -> list[str]:
    """The winner, where it lies, and what to do next with `program`, the command as this person can type it."""
    return [
        *winner_lines(outcome.winner, outcome.objective.name),
        f"export    {outcome.export}",
        verified_line(outcome.differences),
        f"next      {program} tensorboard; {program} steps; {program} predict IMAGE...",
    ]


def feasible_line(space: SearchSpace, image_shape: tuple[int, int, int], output: Output) -> str:
    """How many points a space has, and how many of them images of this shape allow."""
    share = check_feasible(space, image_shape, output)
    return f"{space.size()} points, {share:.0%} of them feasible for images of {shape(image_shape)}"


def steps_table(architecture: Architecture) -> Table:
    """One architecture as the seven steps, a row each, with shapes, parameters, multiply-adds and receptive fields."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("step")
    for title in ("output", "params", "mult-adds", "sees"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_row("image", "pixels 0 to 255, scaled to 0 to 1", shape(architecture.image_shape), "", "", "")
    previous = ""
    for layer in architecture.layers:
        place = _place(layer)
        for row in _rows(layer):
            table.add_row("" if place == previous else place, *row)
            previous = place
    memory = f"{architecture.activation_bytes:,} bytes of activations at once"
    table.add_row("total", memory, "", f"{architecture.params:,}", f"{architecture.macs:,}", "")
    return table


def _place(layer: Layer) -> str:
    if layer.name.startswith("block_"):
        return f"block {layer.name.split('_')[1]}"
    return layer.name.removesuffix("_relu").removesuffix("_dropout").replace("_", " ")


def _rows(layer: Layer) -> list[tuple[str, str, str, str, str]]:
    sees = "" if layer.receptive_field is None else f"{layer.receptive_field}x{layer.receptive_field}"
    params, macs = (f"{layer.params:,}", f"{layer.macs:,}") if layer.params else ("", "")
    step = f"{layer.step} {STEPS[layer.step]}: {_explain(layer)}"
    row = (step, shape(layer.output_shape), params, macs, sees)
    if layer.kind != "convolution":
        return [row]
    return [row, (f"2 {STEPS[2]}: {_explain_padding(layer)}", "", "", "", "")]


def _explain(layer: Layer) -> str:
    of = layer.settings
    match layer.kind:
        case "convolution":
            return f"{of['filters']} of {of['kernel_size']}x{of['kernel_size']}, strides {of['strides']}"
        case "pooling":
            return f"{of['pool_size']}x{of['pool_size']}, strides {of['strides']}"
        case "dropout":
            return f"{100 * of['rate']:g} % while training"
        case "dense":
            return f"{of['units']} units"
        case "output":
            return f"{of['units']} units, {of['activation']}"
        case "flatten":
            return "the maps in one row"
    return "negative becomes 0"


def _explain_padding(layer: Layer) -> str:
    of = layer.settings
    if of["padding"] == "valid":
        return "valid, none"
    high, wide = (padding_pixels(side, of["kernel_size"], of["strides"], "same") for side in layer.input_shape[:2])
    if len({*high, *wide}) == 1:
        return f"same, {high[0]} all round"
    return f"same, {high[0]}+{high[1]} high, {wide[0]}+{wide[1]} wide"


def space_table(space: SearchSpace) -> Table:
    """Every hyperparameter of a space; those of a block once, since the blocks are alike."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("hyperparameter", no_wrap=True)
    table.add_column("values")
    for parameter in space.parameters:
        if not parameter.name.startswith(("block_", "dense_")) or "_1." in parameter.name or "." not in parameter.name:
            name = parameter.name.replace("block_1.", "each block: ").replace("dense_1.", "each dense layer: ")
            table.add_row(name, parameter.describe())
    for name, limit in space.limits.model_dump().items():
        if limit is not None:
            table.add_row(name, f"{limit:,}")
    return table
