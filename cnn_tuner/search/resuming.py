"""Going on with a run: what differs from when it began is named, then taken up, left, or refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from cnn_tuner.data import registry
from cnn_tuner.data.cache import Cache
from cnn_tuner.data.calling import GIVEN
from cnn_tuner.errors import UsageError
from cnn_tuner.oracles import registry as oracle_registry
from cnn_tuner.runs import images
from cnn_tuner.runs.config import Change, RunConfig, kept
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.observer import Observer
from cnn_tuner.search.session import Outcome, Session
from cnn_tuner.search.tuning import is_there, lasting
from cnn_tuner.spaces import tree
from cnn_tuner.spaces.architecture import check_feasible
from cnn_tuner.spaces.tree import Parameter, SearchSpace

PROMOTING = ("asha", "hyperband")  # oracles whose rounds are made of what went before, by its epochs
LENGTHS = ("max_trials", "budget_seconds")
COMPARABLE = "a run's scores compare only by the same {}: start a new run with cnn-tuner tune"


@dataclass(frozen=True)
class Wishes:
    """What a person wants changed in a run that is gone on with.

    `settings` has values for fields of `SearchConfig`; `space` and `data` are as for a new run, None where they are to
    stay; `data` may be in memory. An edited space file is a change too: `accepts_changes` takes it up, `keeps_space`
    leaves it. `more_trials` adds to the number of trials, `more_seconds` to the budget. `cache`: of decoded images.
    `hypermodel`: of a run on a person's own networks, handed over once more.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    space: str | None = None
    data: Any = None
    more_trials: int | None = None
    more_seconds: float | None = None
    accepts_changes: bool = False
    keeps_space: bool = False
    cache: Cache | None = None
    hypermodel: Any = None


@dataclass(frozen=True)
class Difference:
    """Something that is no longer as it was; `refusal` says why the run cannot go on with it, if it cannot."""

    what: str
    before: str
    after: str
    refusal: str = ""

    def __str__(self) -> str:
        return f"{self.what} was {self.before}, is {self.after}"


class Resuming(Session):
    """A run that is gone on with: one that was stopped or killed, or a finished one with more trials."""

    def __init__(self, run: RunStore, wishes: Wishes, observer: Observer, workers: Workers, command: str = "") -> None:
        if workers.count is None and not workers.must_measure:  # what follows depends on their number
            workers = replace(workers, count=run.config.search.workers)
        super().__init__(observer, workers, command)
        self.store, self.wishes, self._config = run, wishes, run.config
        self.hypermodel = wishes.hypermodel

    @property
    def has_own_networks(self) -> bool:
        return self.store.config.hypermodel is not None

    def run(self) -> Outcome:
        """Goes on with the run until it is complete.

        Raises:
            UsageError: there is nothing left to do, or something differs and was not accepted, or cannot be.
            DataError: the data cannot be read again, or is not what it was.
            SearchError, StorageError, VerificationError: as for a new run.
        """
        run, wishes = self.store, self.wishes
        if run.is_at_work:
            raise UsageError(f"{run.folder}: another process is at work on this run")
        config = self._changed(run.config)
        if run.is_complete and config == run.config:
            more = f"cnn-tuner extend {run.folder.name}"
            ways = f"{more} --budget 10m or --trials N goes on searching"
            raise UsageError(f"{run.folder}: is complete, nothing is left to do; {ways}")
        dataset = images.load_data(run, wishes.data, wishes.cache)
        self._config = config
        try:
            return self.go_on(run, dataset)
        finally:
            run.close()

    def _prepare(self, run: RunStore) -> None:
        before = run.config
        if self._config != before:
            run.reconfigure(self._config)
        if (self._config.search, self._config.space) != (before.search, before.space):
            run.set_search_ended(False)
        if not run.has_search_ended:  # one that ended by its time leaves what it cut short as it is
            run.reopen_stopped()

    def _changed(self, config: RunConfig) -> RunConfig:
        """The config to go on with.

        Raises:
            UsageError: something differs that was not accepted, or cannot be.
        """
        wishes = self.wishes
        space = self._space(config)
        check_feasible(space, config.data.image_shape, config.output)
        is_other_space = space.fingerprint != config.search_space().fingerprint
        settings = config.search.model_dump() | self._settings(config)
        found = [*_setting_differences(config, settings, self.store), *_space_differences(config.search_space(), space)]
        refused = [f"{difference}: {difference.refusal}" for difference in found if difference.refusal]
        if refused:
            raise UsageError(f"{self.store.folder}: {refused[0]}")
        is_longer = wishes.more_trials is not None or wishes.more_seconds is not None
        unasked = [difference for difference in found if not is_longer or difference.what not in LENGTHS]
        if unasked and not wishes.accepts_changes:
            how = "--accept-changes goes on with what is now"
            if is_other_space and wishes.space is None:
                how += ", --keep-space with the search space as it was"
            raise UsageError(f"{self.store.folder}: {'; '.join(map(str, unasked))}; {how}")
        source = wishes.data if isinstance(wishes.data, str) else GIVEN
        if wishes.data is not None and source != config.data.source:
            found.append(Difference("data", config.data.source, source))  # load_data proves that it is the same
            moved = {"source": source, "place": registry.lasting(source)}
            config = config.model_copy(update={"data": config.data.model_copy(update=moved)})
        if not found:
            return config
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        changes = (*config.changes, *(Change(at=now, text=str(difference)) for difference in found))
        update = {"search": settings, "changes": changes}
        if is_other_space:
            update |= {"space": kept(space), "space_name": space.name, "space_place": lasting(space.place)}
        return RunConfig.model_validate(config.model_dump() | update)

    def _space(self, config: RunConfig) -> SearchSpace:
        """The space as it is now: the one that was asked for, or what has become of the run's own."""
        wishes, before = self.wishes, config.search_space()
        if config.hypermodel is not None:
            if wishes.space is not None:
                raise UsageError(f"--space: {self.store.folder.name} has the networks of {config.hypermodel.name}")
            return before
        if wishes.space is None and (wishes.keeps_space or not is_there(config.space_place)):
            return before
        place = config.space_place if wishes.space is None else wishes.space
        return tree.load(place).within(config.search.limits)

    def _settings(self, config: RunConfig) -> dict[str, Any]:
        wishes = self.wishes
        settings = {name: value for name, value in wishes.settings.items() if value is not None}
        for name in ("max_trials", "epochs", "final_epochs", "finalists", "final_seeds", "keep"):
            if name in settings and settings[name] < 1:
                flag = "max-epochs" if name == "epochs" else name.replace("_", "-")
                raise UsageError(f"--{flag}: must be a whole number >= 1, got {settings[name]}")
        if "oracle" in settings:
            oracle_registry.check_name(settings["oracle"])
            if settings["oracle"] != config.search.oracle:
                settings.setdefault("sampler", None)  # of the other oracle: its own
        if "sampler" in settings:
            oracle_registry.check_sampler(settings.get("oracle", config.search.oracle), settings["sampler"])
        if wishes.more_trials is not None:
            if wishes.more_trials < 1:
                raise UsageError(f"--trials: must be a whole number >= 1, got {wishes.more_trials}")
            so_far = self.store.last_trial() if config.search.max_trials is None else config.search.max_trials
            settings |= {"max_trials": so_far + wishes.more_trials, "budget_seconds": None}
        if wishes.more_seconds is not None:
            settings |= {"max_trials": None, "budget_seconds": self.store.active_seconds() + wishes.more_seconds}
        return settings


def _setting_differences(config: RunConfig, settings: dict[str, Any], run: RunStore) -> list[Difference]:
    before = config.search.model_dump()
    return [
        Difference(name, str(before[name]), str(value), _why_refused(name, value, config, run))
        for name, value in settings.items()
        if value != before[name]
    ]


def _why_refused(name: str, value: Any, config: RunConfig, run: RunStore) -> str:
    """Why a run cannot go on with another value of a setting; empty when it can."""
    begun = run.last_trial()
    if name in ("objective", "direction"):
        return COMPARABLE.format("objective")
    if name == "seed":
        return "its trials were drawn by the seed that it began with"
    if name == "max_trials" and value is not None and value < begun:
        return f"it has {begun} trials already"
    rounds = "the rungs of ASHA and Hyperband follow from what a run began with: start a new run with cnn-tuner tune"
    if name == "oracle" and {value, config.search.oracle} & set(PROMOTING):
        return rounds
    return rounds if name == "epochs" and config.search.oracle in PROMOTING else ""


def _space_differences(before: SearchSpace, after: SearchSpace) -> list[Difference]:
    """What an edited space allows that it did not, or no longer allows; what blocks or layers share is named once."""
    if before.fingerprint == after.fingerprint:
        return []
    old, new = _described(before), _described(after)
    return [
        Difference(f"{after.place}: {name}", old.get(name, "not there"), new.get(name, "not there"))
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]


def _described(space: SearchSpace) -> dict[str, str]:
    limits = {f"limits.{name}": str(value) for name, value in space.limits.model_dump().items() if value is not None}
    return {_shared_name(parameter): parameter.describe() for parameter in space.parameters} | limits


def _shared_name(parameter: Parameter) -> str:
    """`block_2.filters` as `block.filters`: the blocks of a space are alike."""
    return re.sub(r"^(block|dense)_\d+\.", r"\1.", parameter.name)
