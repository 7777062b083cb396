"""How quantities, points and architectures are told, wherever they are shown: plain text, a line each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from cnn_tuner.runs.records import Trial
from cnn_tuner.spaces.architecture import STEPS, Architecture, Layer, padding_pixels
from cnn_tuner.spaces.recipe import Recipe, recipe_of
from cnn_tuner.spaces.tree import Point, Value


def duration(seconds: float) -> str:
    """`0:07`, `3:20` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: int) -> str:
    """`12 MB`, `1.4 GB`."""
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{max(1, round(count / 2**20))} MB"


def epochs(count: int, passes: float = 0.0) -> str:
    """`1 epoch`, `27 epochs`; `16 epochs, 11.3 passes over the training images` where some had a part of them only."""
    told = f"{count} epoch" if count == 1 else f"{count} epochs"
    return f"{told}, {passes:.1f} passes over the training images" if passes and round(passes, 1) != count else told


def counted(task: str, count: int) -> str:
    """`10 classes`, `1 target`: what a task tells apart."""
    one, many = {"multilabel": ("label", "labels"), "regression": ("target", "targets")}.get(task, ("class", "classes"))
    return f"{count:,} {one if count == 1 else many}"


def file_size(count: int) -> str:
    """`850 bytes`, `12 kB`, `1.4 MB`, as file managers count."""
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1000:.0f} kB" if count < 10**6 else f"{count / 10**6:.1f} MB"


def shape(sizes: Sequence[int]) -> str:
    """`28x28x1`."""
    return "x".join(str(size) for size in sizes)


def score(value: float | None) -> str:
    """Four places, as many as differ between trials; a dash where there is none."""
    return "-" if value is None else f"{value:.4f}" if abs(value) < 1000 else f"{value:.6g}"


def reached(trial: Trial) -> str:
    """A trial's score, and where it is a mean of folds how far they differ."""
    return score(trial.score) + ("" if trial.spread is None else f" +- {score(trial.spread)}")


SPARKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """Numbers as a row of bars, from their least to their largest; of more than `width` each stands for several."""
    if not values:
        return ""
    shown = [values[(2 * i + 1) * len(values) // (2 * width)] for i in range(width)] if len(values) > width else values
    shown = [*shown[:-1], values[-1]]
    low, high = min(shown), max(shown)
    if high == low:
        return SPARKS[0] * len(shown)
    return "".join(SPARKS[round((value - low) / (high - low) * (len(SPARKS) - 1))] for value in shown)


def metric(name: str, value: float, interval: Sequence[float] | None = None) -> str:
    """`accuracy 0.9889 (95 % interval 0.972 to 0.996)`; without an interval, `accuracy 0.9889`."""
    told = f"{name} {score(value)}"
    return told if interval is None else f"{told} (95 % interval {ends(name, interval)})"


SHARES = ("accuracy", "balanced_accuracy", "macro_f1", "auc")


def ends(name: str, interval: Sequence[float]) -> str:
    """The two ends of a metric's interval: `0.972 to 0.996`."""
    form = ".3f" if name in SHARES else ".4g"
    return " to ".join(format(end, form) for end in interval)


SUMMARY_LEGEND = "2*16k3s2p2: twice 16 kernels of 3x3, strides 2, then a pool of 2x2; lr: learning rate"


def summary_title(trials: Iterable[Trial]) -> str:
    """What stands above the summaries of trials."""
    return "hyperparameters" if any(is_custom(trial.values) for trial in trials) else "blocks | dense | training"


def is_custom(values: Point) -> bool:
    """Whether a point is of a person's own networks."""
    return "block_1.filters" not in values


def summary(values: Point) -> str:
    """A point in one line: blocks, dense layers, then how it is trained: `32k3-48k3 | 128 | lr 0.0012, batch 32`."""
    if is_custom(values):
        return ", ".join(f"{name} {_value(value)}" for name, value in values.items())
    blocks = "-".join(_block(values, f"block_{i}") for i in range(1, int(values["blocks"]) + 1))
    dense = " ".join(str(values[f"dense_{i}.units"]) for i in range(1, int(values["dense_layers"]) + 1))
    return f"{blocks} | {dense or 'no dense'} | {_trained(recipe_of(values))}"


def _value(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _trained(recipe: Recipe) -> str:
    """How a point is trained; what is as it would be if nothing was said is left out."""
    rate = f"lr {recipe.learning_rate:.2g}{'' if recipe.schedule == 'constant' else f' {recipe.schedule}'}"
    plain = Recipe(recipe.learning_rate, recipe.batch_size)
    optimizer = [] if recipe.optimizer == plain.optimizer else [recipe.optimizer]
    titles = {"warmup": "warm-up", "weight_decay": "decay", "label_smoothing": "smoothing"}
    numbers = [f"{title} {getattr(recipe, name):.2g}" for name, title in titles.items() if getattr(recipe, name) > 0]
    weights = {"balanced": ["class weights"], "sampled": ["sampled by class"]}.get(recipe.class_weights, [])
    augmentation = asdict(recipe.augmentation)
    changes = [name for name, value in asdict(plain.augmentation).items() if augmentation[name] != value]
    augmented = [f"augmented: {' '.join(changes)}"] if changes else []
    return ", ".join([*optimizer, rate, f"batch {recipe.batch_size}", *numbers, *weights, *augmented])


def _block(values: Point, name: str) -> str:
    of = {key: values[f"{name}.{key}"] for key in ("convolutions", "filters", "kernel_size", "strides", "pool_size")}
    times = f"{of['convolutions']}*" if of["convolutions"] != 1 else ""
    strides = f"s{of['strides']}" if of["strides"] != 1 else ""
    pool = f"p{of['pool_size']}" if of["pool_size"] != 1 else ""
    return f"{times}{of['filters']}k{of['kernel_size']}{strides}{pool}"


CUT = "…/"
# A path from the root or a home, two names deep or more, that does not belong to an address such as https://a/b/c.
ABSOLUTE = re.compile(r"""(?<![\w./…~])~?(?:/[^\s/'":;,=]+)*/[^\s/'":;,=]+/([^\s/'":;,=]+)/?""")


def without_places(text: str) -> str:
    """`text` with each absolute path cut to its last name: `npz:…/arrays.npz`. Where it lay on a machine is private."""
    return ABSOLUTE.sub(lambda found: CUT + found[1], text)


@dataclass(frozen=True)
class StepRow:
    """One line of an architecture: where it stands, which step it is, and its figures as text."""

    place: str
    step: str
    output: str = ""
    params: str = ""
    macs: str = ""
    sees: str = ""


def step_rows(architecture: Architecture) -> list[StepRow]:
    """One architecture as the seven steps: the image, a row a step, the total; `place` only where it changes."""
    found = [StepRow("image", "pixels 0 to 255, scaled to 0 to 1", shape(architecture.image_shape))]
    previous = ""
    for layer in architecture.layers:
        place = _place(layer)
        for row in _rows(layer):
            found.append(StepRow("" if place == previous else place, *row))
            previous = place
    memory = f"{architecture.activation_bytes:,} bytes of activations at once"
    return [*found, StepRow("total", memory, "", f"{architecture.params:,}", f"{architecture.macs:,}")]


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
