"""What a run was asked for: one validated record, kept as `config.yaml` in the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from cnn_tuner.errors import UsageError
from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.runs.records import Precision, Prefer
from cnn_tuner.spaces import tree
from cnn_tuner.spaces.rules import WARMED_UP, Limits, Training
from cnn_tuner.spaces.tree import Parameter, SearchSpace

FORMAT = 3  # of the run folder; a reader refuses one it does not know
FEW_VAL_IMAGES = 2000  # the standard error of an accuracy of 0.95 is then over half a point
BACKWARDS = 3  # an image that is trained on costs about three that are only looked at
# What a run's space means that leaves these out: those of before left them to the defaults of their day.
UNSAID = {"learning_rate": 0.001, "schedule": "constant", "weight_decay": 0.0, "label_smoothing": 0.0}


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Config):
    """Which images a run learns from, and what they turned out to be.

    `source` is as it was typed, `place` the same from whatever folder (empty in runs of before there was one).
    `images` counts training, validation and test; `drawn` are the parts that were split off train; `has_groups` says
    whether images belong together that a split must not part, as copies do. Each of so many `folds` is for validation
    once; 0 is for a validation part that stays.
    """

    source: str
    place: str = ""
    name: str
    task: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    output_scale: tuple[float, ...] = ()
    output_offset: tuple[float, ...] = ()
    images: tuple[int, int, int]
    drawn: tuple[str, ...] = ()
    has_groups: bool = False
    folds: int = 0
    fingerprint: str
    options: dict[str, Any]

    @property
    def fit(self) -> str:
        """What became of image files of another aspect; see `cnn_tuner.data.pictures.box`."""
        return str(self.options.get("fit", "stretch"))


class SearchConfig(_Config):
    """How a run searches.

    It ends after `max_trials` points, or when its part of `budget_seconds` is over; None is no limit. `epochs` is
    the most for one trial and `least_epochs` the least, each of `epoch_images` images where there are more,
    `final_epochs` those of one of the `finalists`, each of which is trained with at most `final_seeds` seeds; the
    training states of the best `keep` trials stay on disk. `limits` hold besides those of the space. `cost` is a
    second objective, made as small as can be; a model that takes longer than `max_latency_seconds` for one image is
    refused. `workers` is how many were asked for, None left it to the machine; with another number other points
    follow. With `refits` the winner is trained once more on train and validation; `prefer` says whether a smaller
    finalist wins where the validation images show no difference.
    """

    oracle: str
    sampler: str | None = None
    objective: str
    direction: str
    cost: str | None = None
    max_latency_seconds: float | None = None
    max_trials: int | None
    budget_seconds: float | None = None
    epochs: int
    least_epochs: int = 1
    epoch_images: int | None = None
    final_epochs: int
    finalists: int = 3
    final_seeds: int = 3
    limits: Limits = Limits()
    seed: int
    precision: Precision | Literal["auto"] = "auto"
    keep: int = 3
    workers: int | None = None
    refits: bool = True
    prefer: Prefer = "accurate"

    @property
    def method(self) -> str:
        """The oracle, with its sampler where it has one: `asha (tpe)`."""
        return self.oracle if self.sampler is None else f"{self.oracle} ({self.sampler})"


class Change(_Config):
    """A setting that was changed when the run was gone on with."""

    at: str
    text: str


class HypermodelConfig(_Config):
    """What builds a run's networks, where they are a person's own.

    `place` is where it is found again, MODULE:NAME, empty where it was given in Python. `parameters` are the fields of
    its `cnn_tuner.spaces.tree.Parameter`s, `start` their values as it has them by default, `largest_params` how many
    weights the largest network had that was seen. With `has_unit_pixels` networks are given pixels from 0 to 1.
    """

    name: str
    place: str = ""
    parameters: tuple[dict[str, Any], ...]
    start: dict[str, Any]
    largest_params: int
    has_unit_pixels: bool = False

    def search_space(self) -> SearchSpace:
        parameters = [_parameter(each) for each in self.parameters]
        return tree.of_hypermodel(self.name, parameters, self.place)


def _parameter(fields: dict[str, Any]) -> Parameter:
    given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    return Parameter(**given)


class RunConfig(_Config):
    """Everything that decides what a run does. `formats` are those in which its winner is exported."""

    format: int = FORMAT
    created: str
    command: str
    versions: dict[str, str]
    data: DataConfig
    space_name: str
    space_place: str
    space: dict[str, Any]
    search: SearchConfig
    formats: tuple[str, ...] = ("tf_saved_model",)
    hypermodel: HypermodelConfig | None = None
    changes: tuple[Change, ...] = ()

    @property
    def epoch_share(self) -> float:
        """Of the training images, what an epoch of the search has; one of the final training has all."""
        most, images = self.search.epoch_images, self.data.images[0]
        return 1.0 if most is None else min(1.0, most / images)

    @property
    def work_share(self) -> float:
        """The same of an epoch's time: after each all validation images are looked at, and each fold has its own."""
        train, val, _ = self.data.images
        looked_at = val / BACKWARDS
        return (self.epoch_share * train + looked_at) / (train + looked_at) * max(1, self.data.folds)

    @property
    def redraws_val(self) -> bool:
        """Whether each further seed of a finalist has a validation part of its own: the run's own tells too little."""
        few = self.data.images[1] < FEW_VAL_IMAGES
        return self.data.folds > 0 or (few and "val" in self.data.drawn and not self.data.has_groups)

    @property
    def objective(self) -> Objective:
        return Objective(self.search.objective, self.search.direction)

    @property
    def measures_latency(self) -> bool:
        return self.search.cost == "latency" or self.search.max_latency_seconds is not None

    @property
    def output(self) -> Output:
        units = 1 if self.data.task == "binary" else len(self.data.class_names)
        return Output(self.data.task, units, self.data.output_scale, self.data.output_offset)

    def search_space(self) -> SearchSpace:
        """The space as it was when the run began, whatever became of its file."""
        if self.hypermodel is not None:
            return self.hypermodel.search_space()
        training = {"training": UNSAID | (self.space.get("training") or {})}
        space = tree.from_text(yaml.safe_dump(self.space | training, sort_keys=False), self.space_name)
        return space.within(self.search.limits)

    def check_seven_steps(self, what: str) -> None:
        """Return if the run's networks are those of the seven steps.

        Raises:
            UsageError: they are a person's own, which `what` cannot do with.
        """
        if self.hypermodel is not None:
            raise UsageError(
                f"{what}: is for networks of the seven steps; this run has those of {self.hypermodel.name}"
            )

    def to_yaml(self) -> str:
        """The text of `config.yaml`."""
        head = "# What this run was asked for. To change it: cnn-tuner resume --help\n"
        return head + yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def kept(space: SearchSpace) -> dict[str, Any]:
    """A space as a run keeps it: the defaults of its training are written out, since they may change."""
    data, defaults = space.to_dict(), Training()
    said = data.get("training") or {}
    unsaid: dict[str, Any] = {name: list(getattr(defaults, name)) for name in UNSAID if name not in said}
    if "warmup" in said and "schedule" not in said:
        unsaid["schedule"] = WARMED_UP
    return data | {"training": unsaid | said}


def read(file: Path) -> RunConfig:
    """The config in `file`.

    Raises:
        UsageError: it is not one, or of a format that is not known here.
    """
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        found = data.get("format") if isinstance(data, dict) else None
        if isinstance(found, int) and found != FORMAT:
            raise UsageError(f"{file.parent}: run format {found} is not known here, only {FORMAT}")
        return RunConfig.model_validate(data)
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{file}: not the config of a run: {reason}") from error
