"""Which hyperparameters mattered: what the best trials of a run have in common, beyond what chance would give them."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.runs.records import Trial
from cnn_tuner.spaces.tree import Parameter, SearchSpace, Value

MIN_TRIALS = 10  # of fewer, what the best have in common is what any five have
MIN_BEST = 5  # Optuna's advice for PED-ANOVA
DEALS = 39  # of the best places at random: with the one that was found 40, enough to tell what 1 in 20 gives
CHANCE = 0.05  # what is clear happens by chance less often


@dataclass(frozen=True)
class Importance:
    """What one hyperparameter had to do with being among the best.

    Attributes:
        share: 0 to 1; all hyperparameters of a run add up to 1, or to 0 where none exceeds chance.
        chance: how often the most striking of hyperparameters that all do nothing would be as striking, 0 to 1.
        trials: the trials in which it was active; the figures rest on these.
        best: its values among the best trials, the commonest first; of a continuous one the least and the largest.
    """

    name: str
    share: float
    chance: float
    trials: int
    best: tuple[Value, ...]
    is_range: bool

    @property
    def is_clear(self) -> bool:
        """Whether it is more than chance."""
        return self.chance <= CHANCE

    @property
    def best_text(self) -> str:
        """`64, 32`, `0.0006 to 0.002`, or `none of them` where it is active in no best trial."""
        told = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in self.best]
        return (" to " if self.is_range else ", ").join(told) or "none of them"


@dataclass(frozen=True)
class Importances:
    """Every hyperparameter with a choice, the most important first, from `trials` trials of which `best` are the best.

    Where nothing can be said, `reason` tells why, and there are no hyperparameters.
    """

    trials: int
    best: int
    hyperparameters: tuple[Importance, ...] = ()
    reason: str = ""

    @property
    def clear(self) -> tuple[Importance, ...]:
        """Those that are more than chance."""
        return tuple(each for each in self.hyperparameters if each.is_clear)


def measured(trials: Sequence[Trial], space: SearchSpace, objective: Objective) -> list[Trial]:
    """The trials that can be compared: points of `space` with at least one epoch.

    Failed ones are left out. Whether a trial fails may be the machine's doing (memory, time) as much as its point's,
    and counting it as the worst would make the machine's limits look like the network's.
    """
    return [
        trial
        for trial in trials
        if trial.status != "failed"
        and any(objective.name in epoch.metrics for epoch in trial.epochs)
        and space.contains(trial.values)
    ]


def standings(trials: Sequence[Trial], objective: Objective) -> np.ndarray:
    """How each trial stands among the others, (N,): the share that it beats, 0 to 1, where a tie counts half.

    Hyperband and ASHA train most trials for few epochs, and a longer training has the better score whatever its point
    is. So each pair is compared at the last epoch that both have reached, by the best score up to there: one that was
    stopped early is compared with all others as they were then. Of trials with the same number of epochs it is the
    order of their scores. What early scores cannot tell, such as a small learning rate that wins late, this cannot.
    """
    curves = [_best_so_far(trial, objective) for trial in trials]
    lengths = np.array([len(curve) for curve in curves])
    points = np.zeros(len(trials))
    for length in np.unique(lengths):
        ended, others = np.flatnonzero(lengths == length), np.flatnonzero(lengths > length)
        at = np.array([curve[length - 1] if len(curve) >= length else np.nan for curve in curves])
        points[ended] += _wins(at[ended], at[ended]).sum(axis=1) - 0.5  # not against itself
        wins = _wins(at[ended], at[others])
        points[ended] += wins.sum(axis=1)
        points[others] += (1 - wins).sum(axis=0)
    return points / max(1, len(trials) - 1)


def _best_so_far(trial: Trial, objective: Objective) -> np.ndarray:
    """The best objective up to each epoch, (epochs,), larger is better."""
    sign = 1.0 if objective.direction == "max" else -1.0
    by_epoch = {e.number: sign * e.metrics[objective.name] for e in trial.epochs if objective.name in e.metrics}
    scores = [by_epoch.get(number, -math.inf) for number in range(1, max(by_epoch) + 1)]
    return np.maximum.accumulate(scores)


def _wins(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """1 where one of ours (rows) beats one of theirs (columns), 0.5 where they are equal."""
    return (ours[:, None] > theirs).astype(float) + 0.5 * (ours[:, None] == theirs)


def is_best(trials: Sequence[Trial], objective: Objective) -> np.ndarray:
    """Which trials are the best quarter, and at least five, (N,) bool; more where several stand equal."""
    standing = standings(trials, objective)
    count = min(len(trials), max(MIN_BEST, math.ceil(len(trials) / 4)))
    return standing >= np.sort(standing)[-count]


def why_unknown(trials: Sequence[Trial], objective: Objective) -> str:
    """Why nothing can be said from these trials (see `measured`); empty where something can."""
    if len(trials) < MIN_TRIALS:
        return f"too few trials to tell: {len(trials)} with a score, at least {MIN_TRIALS} are needed"
    if is_best(trials, objective).all():
        return f"no telling: the scores of the {len(trials)} trials differ too little"
    return ""


def importances(trials: Sequence[Trial], space: SearchSpace, objective: Objective, seed: int = 0) -> Importances:
    """What the hyperparameters had to do with being among the best trials.

    A figure is the divergence between a hyperparameter's values in the best quarter and in all trials: PED-ANOVA
    (Watanabe, Bansal, Hutter: PED-ANOVA, IJCAI 2023, arXiv 2304.10255), as Optuna computes it. One that is active in
    some trials only is measured in those, and weighs as much as they have of the best (conditional PED-ANOVA, arXiv
    2601.20800); fANOVA (Hutter et al., ICML 2014) needs each hyperparameter in every trial. Only being among the best
    counts, so that neither the scale of the scores nor a few hopeless trials decide.

    Few trials diverge by chance. So the best places are also dealt at random, and the average figure of that is taken
    off (Altmann et al.: Permutation importance, Bioinformatics 26, 2010). Of many hyperparameters one always looks
    striking: `chance` compares each with the most striking one of every deal (Westfall, Young: Resampling-Based
    Multiple Testing, 1993), so that in 19 of 20 runs in which nothing matters nothing is called clear.

    Trials that an oracle chose are no random sample: what it settled early was tried with few other values, and is
    underrated. Two hyperparameters that matter only together are not seen.
    """
    trials = measured(trials, space, objective)
    if reason := why_unknown(trials, objective):
        return Importances(len(trials), 0, reason=reason)
    best = is_best(trials, objective)
    free = [p for p in space.parameters if not p.is_fixed and any(p.name in trial.values for trial in trials)]
    if not free:
        return Importances(len(trials), 0, reason="the search space leaves nothing to choose")
    rng = np.random.default_rng(seed)
    with _study(trials, free) as study:
        found = _divergences(study, free, best)
        dealt = np.array([_divergences(study, free, rng.permutation(best)) for _ in range(DEALS)])
    excess = np.maximum(0.0, found - dealt.mean(axis=0))
    shares = excess / (excess.sum() or 1.0)
    chances = _chances(found, dealt)
    winners = [trial for trial, is_one in zip(trials, best, strict=True) if is_one]
    rows = [
        Importance(p.name, float(share), float(chance), *_seen(p, trials, winners))
        for p, share, chance in zip(free, shares, chances, strict=True)
    ]
    return Importances(len(trials), len(winners), tuple(sorted(rows, key=lambda row: (-row.share, row.chance))))


def _chances(found: np.ndarray, dealt: np.ndarray) -> np.ndarray:
    """How often the most striking of a deal is as striking as each of `found`, itself a deal like the others."""
    deals = np.vstack([found, dealt])
    spread = deals.std(axis=0)
    striking = (deals - deals.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    chances: np.ndarray = (striking.max(axis=1, keepdims=True) >= striking[0]).mean(axis=0)
    return chances


def _seen(parameter: Parameter, trials: Sequence[Trial], best: Sequence[Trial]) -> tuple[int, tuple[Value, ...], bool]:
    count = sum(parameter.name in trial.values for trial in trials)
    values = [trial.values[parameter.name] for trial in best if parameter.name in trial.values]
    if parameter.is_continuous:
        return count, (min(values), max(values)) if values else (), True
    return count, tuple(value for value, _ in Counter(values).most_common()), False


@contextmanager
def _study(trials: Sequence[Trial], parameters: Sequence[Parameter]) -> Iterator[Any]:
    """The trials as an Optuna study; while inside, Optuna says nothing."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a target that has to be small, and of hyperparameters in few trials
            study = optuna.create_study(direction="minimize")
            study.add_trials([_optuna_trial(trial, parameters) for trial in trials])
            yield study
    finally:
        optuna.logging.set_verbosity(before)


def _optuna_trial(trial: Trial, parameters: Sequence[Parameter]) -> Any:
    from optuna.trial import create_trial

    active = [p for p in parameters if p.name in trial.values]
    return create_trial(
        value=0.0,
        params={p.name: _coded(p, trial.values[p.name]) for p in active},
        distributions={p.name: _distribution(p) for p in active},
    )


def _distribution(parameter: Parameter) -> Any:
    """Numbers by their place in the order: neighbours are alike, whatever lies between them."""
    from optuna import distributions

    if parameter.is_continuous:
        return distributions.FloatDistribution(parameter.low, parameter.high, log=parameter.is_log)
    if _is_ordered(parameter):
        return distributions.IntDistribution(0, len(parameter.values) - 1)
    return distributions.CategoricalDistribution(parameter.values)


def _coded(parameter: Parameter, value: Value) -> Value:
    if parameter.is_continuous or not _is_ordered(parameter):
        return value
    return sorted(parameter.values, key=float).index(value)


def _is_ordered(parameter: Parameter) -> bool:
    return all(isinstance(value, (int, float)) for value in parameter.values)


def _divergences(study: Any, parameters: Sequence[Parameter], best: np.ndarray) -> np.ndarray:
    """PED-ANOVA's figure of each hyperparameter, (parameters,), where `best` (N,) says which trials are the best."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    # Half a trial less than the quantile, which Optuna rounds up.
    evaluator = PedAnovaImportanceEvaluator(target_quantile=(best.sum() - 0.5) / len(best))
    found = get_param_importances(
        study, evaluator=evaluator, target=lambda trial: float(not best[trial.number]), normalize=False
    )
    return np.array([found[parameter.name] for parameter in parameters])
