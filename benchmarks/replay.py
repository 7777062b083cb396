"""Which oracle finds the best network soonest: searches replayed on real learning curves, with 1, 8 and 1,000 workers.

    .venv/bin/python benchmarks/replay.py [--curves benchmarks/curves-fashion.json.gz] [--seeds 0-19] [--plot FILE]

Nothing is trained: `benchmarks/surrogate.py` answers from a table of real curves, and a virtual clock goes from event
to event. Workers differ in speed, some points fail. Ours are driven through KerasTuner's create_trial, update_trial and
end_trial as the search drives them; Optuna's TPE with a pruner by ask and tell, an epoch at a time. Time that an oracle
itself takes does not count. `benchmarks/replay.md` explains the table that is printed.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from surrogate import Key, Training, World, key_of, read
from threadpoolctl import threadpool_limits

from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.oracles import practice, registry
from cnn_tuner.oracles.feasible import Search

CURVES = Path(__file__).with_name("curves-fashion.json.gz")
OBJECTIVE = Objective("val_accuracy", "max")
IMAGE_SHAPE, IMAGES, OUTPUT = (28, 28, 1), 1_500, Output("multiclass", 10)  # that the curves were trained on
FAIL_SHARE = 0.05  # of the points: they fail in their first epoch
SPREAD = 0.5  # of the workers' speeds, lognormal: the slowest of 8 takes about four times as long as the fastest
CHECKPOINTS = (0.25, 0.5, 1.0)  # shares of the time limit
MOMENTS = np.linspace(0.01, 1.0, 100)


@dataclass(frozen=True)
class Setting:
    """So many workers for so many mean full trainings each; `most_seconds` is what one run's driver may take."""

    workers: int
    trainings: float
    most_seconds: float = 60.0


# What would take the benchmark longer than ten minutes plays fewer seeds, by player and number of workers.
FEWER_SEEDS = {
    ("optuna", 1): 10,
    ("optuna", 8): 2,
    ("optuna", 1000): 1,
    ("asha optuna", 1): 5,
    ("asha optuna", 8): 2,
    ("asha optuna", 1000): 1,
    ("bayesian", 8): 5,
    ("bayesian", 1000): 1,
}
SETTINGS = (
    Setting(1, 40),
    Setting(2, 1),  # a search of minutes
    Setting(2, 3),
    Setting(8, 12),
    Setting(1000, 0.5, most_seconds=30.0),
)
FINALISTS = 3  # the best points that a search would train to the end, to choose the winner among them


@dataclass
class Task:
    """Training a point from its first epoch, from 0, up to its last, on one worker from `began` (virtual seconds).

    `setup_seconds` is 0 where the worker has the point still set up from the task before.
    """

    handle: Any
    key: Key
    training: Training
    first: int
    last: int
    began: float = 0.0
    slowness: float = 1.0
    setup_seconds: float = 0.0
    ended: float = float("inf")  # for a task that was stopped before `last`

    def epoch_ends(self) -> np.ndarray:
        """When its epochs end, (last - first,)."""
        return self.end_of(np.arange(self.first + 1, self.last + 1))

    def end_of(self, epoch: Any) -> Any:
        """When an epoch ends, or each of several (virtual seconds)."""
        return self.began + self.slowness * (self.setup_seconds + (epoch - self.first) * self.training.epoch_seconds)


class Player(Protocol):
    """A competitor: asked for work, and told after each epoch; it says whether the task goes on."""

    def ask(self) -> Task | None: ...

    def told(self, task: Task, epoch: int) -> bool: ...


class OraclePlayer:
    """One of this project's oracles; it hears of a task's end only. With `practised` it tries good practice first."""

    tells_each_epoch = False

    def __init__(self, world: World, seed: int, name: str, sampler: str | None = None, practised: bool = False) -> None:
        table = world.table
        known = practice.Setting(table.space, IMAGE_SHAPE, OUTPUT, IMAGES, world.why)
        first = practice.first_points(known) if practised else ()
        search = Search(table.space, world.why, OBJECTIVE, None, table.epochs, seed, sampler, first=first)
        self.oracle, self.world = registry.create(name, search), world
        self._asked = itertools.count()

    def ask(self) -> Task | None:
        trial = self.oracle.create_trial(f"job-{next(self._asked)}")
        if trial.status != "RUNNING":
            return None
        values = trial.hyperparameters.values
        first, last = values.get("tuner/initial_epoch", 0), values.get("tuner/epochs", self.world.table.epochs)
        key = key_of(values)
        return Task(trial, key, self._training(key), first, last)

    @cache  # noqa: B019 - the player lives as long as its run
    def _training(self, key: Key) -> Training:
        return self.world.train(dict(key))

    def told(self, task: Task, epoch: int) -> bool:
        trial = task.handle
        trial.status = "FAILED" if task.training.fails else "COMPLETED"
        if not task.training.fails:
            score = float(task.training.observed[: task.last].max())
            self.oracle.update_trial(trial.trial_id, {OBJECTIVE.name: score}, step=task.last)
        self.oracle.end_trial(trial)
        return False


class OptunaPlayer:
    """Optuna's TPE with one of its pruners, as its documentation shows them; an infeasible point is asked for again."""

    tells_each_epoch = True

    def __init__(self, world: World, seed: int, pruner: str) -> None:
        import optuna
        from optuna_sampler import define_by_run

        self.define_by_run = define_by_run
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        epochs = world.table.epochs
        pruners: dict[str, Callable[[], Any]] = {
            "median": optuna.pruners.MedianPruner,
            "halving": optuna.pruners.SuccessiveHalvingPruner,
            "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs),
        }
        sampler = optuna.samplers.TPESampler(seed=seed)
        self.study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruners[pruner]())
        self.world = world
        self.states = optuna.trial.TrialState

    def ask(self) -> Task | None:
        while True:
            trial = self.study.ask()
            point = self.define_by_run(self.world.table.space.parameters, trial)
            if self.world.why(point) is None:
                training = self.world.train(point)
                return Task(trial, key_of(point), training, 0, self.world.table.epochs)
            self.study.tell(trial, state=self.states.FAIL)

    def told(self, task: Task, epoch: int) -> bool:
        if task.training.fails:
            self.study.tell(task.handle, state=self.states.FAIL)
            return False
        task.handle.report(float(task.training.observed[epoch - 1]), epoch)
        if epoch < task.last and not task.handle.should_prune():
            return True
        if epoch == task.last:
            self.study.tell(task.handle, float(task.training.observed.max()))
        else:
            self.study.tell(task.handle, state=self.states.PRUNED)
        return False


def with_optuna(player: OraclePlayer) -> OraclePlayer:
    """The same oracle, whose new points come from Optuna's TPE."""
    from optuna_sampler import OptunaSampler

    player.oracle._sampler = OptunaSampler(player.world.table.space)
    return player


PLAYERS: dict[str, Callable[[World, int], Any]] = {
    "random": lambda world, seed: OraclePlayer(world, seed, "random"),
    "bayesian": lambda world, seed: OraclePlayer(world, seed, "bayesian"),
    "hyperband": lambda world, seed: OraclePlayer(world, seed, "hyperband"),
    "optuna median": lambda world, seed: OptunaPlayer(world, seed, "median"),
    "optuna halving": lambda world, seed: OptunaPlayer(world, seed, "halving"),
    "optuna hyperband": lambda world, seed: OptunaPlayer(world, seed, "hyperband"),
    "asha random": lambda world, seed: OraclePlayer(world, seed, "asha", "random"),
    "asha tpe": lambda world, seed: OraclePlayer(world, seed, "asha", "tpe"),
    "asha practised": lambda world, seed: OraclePlayer(world, seed, "asha", "tpe", practised=True),
    "asha optuna": lambda world, seed: with_optuna(OraclePlayer(world, seed, "asha", "tpe", practised=True)),
}


@dataclass
class Replay:
    """A run's tasks in the order in which they began, its idle worker-seconds, and how far it came."""

    limit: float
    workers: int
    tasks: list[Task] = field(default_factory=list)
    idle: float = 0.0
    reached: float = 0.0  # virtual seconds; less than the limit when the driver's time ran out
    driver_seconds: float = 0.0


def replay(player: Any, workers: int, limit: float, seed: int, most_seconds: float = float("inf")) -> Replay:
    """Runs one search on a virtual clock until `limit` (virtual seconds)."""
    slowness = np.exp(np.random.default_rng(seed).normal(0.0, SPREAD, workers)) if workers > 1 else np.ones(1)
    run, order, began = Replay(limit, workers), itertools.count(), time.process_time()
    agenda: list[tuple[float, int, int, Task, int]] = []  # a heap: when, place, worker, task, epoch
    waiting, now = dict.fromkeys(range(workers), 0.0), 0.0
    last: dict[int, Key] = {}  # what each worker has set up
    while True:
        while waiting:
            task = player.ask()
            if task is None:
                break
            worker = next((each for each in waiting if last.get(each) == task.key), next(iter(waiting)))
            run.idle += now - waiting.pop(worker)
            task.began, task.slowness = now, float(slowness[worker])
            task.setup_seconds = 0.0 if last.get(worker) == task.key else task.training.setup_seconds
            last[worker] = task.key
            run.tasks.append(task)
            epoch = task.first + 1 if player.tells_each_epoch or task.training.fails else task.last
            heapq.heappush(agenda, (task.end_of(epoch), next(order), worker, task, epoch))
            if time.process_time() - began > most_seconds:
                break
        run.driver_seconds = time.process_time() - began
        if not agenda or agenda[0][0] > limit or run.driver_seconds > most_seconds:
            break
        now, _, worker, task, epoch = heapq.heappop(agenda)
        if player.told(task, epoch):
            heapq.heappush(agenda, (task.end_of(epoch + 1), next(order), worker, task, epoch + 1))
        else:
            task.ended, waiting[worker] = now, now
    run.reached = now if run.driver_seconds > most_seconds else limit
    run.idle += sum(run.reached - since for since in waiting.values())
    return run


def epochs_of(run: Replay) -> Iterator[tuple[Task, np.ndarray]]:
    """The tasks that did not fail, each with the moments at which its epochs ended, those of tasks under way too."""
    for task in run.tasks:
        if not task.training.fails:
            ends = task.epoch_ends()
            yield task, ends[ends <= min(task.ended, run.reached) * (1 + 1e-9)]


def finalists(run: Replay) -> float:
    """The true best of the points with the best scores at the end; NaN where there is none."""
    scores: dict[Key, float] = {}
    trues: dict[Key, float] = {}
    for task, ends in epochs_of(run):
        if len(ends):
            reached = float(task.training.observed[task.first : task.first + len(ends)].max())
            scores[task.key] = max(reached, scores.get(task.key, 0.0))
            trues[task.key] = float(task.training.true.max())
    best = sorted(scores, key=lambda key: -scores[key])[:FINALISTS]
    return max((trues[key] for key in best), default=float("nan"))


def incumbents(run: Replay) -> tuple[np.ndarray, np.ndarray]:
    """When the best score so far was beaten, and the true best of the point that beat it; every epoch counts."""
    moments, scores, trues = [np.empty(0)], [np.empty(0)], [np.empty(0)]
    for task, ends in epochs_of(run):
        moments.append(ends)
        scores.append(task.training.observed[task.first : task.first + len(ends)])
        trues.append(np.full(len(ends), task.training.true.max()))
    order = np.argsort(np.concatenate(moments), kind="stable")
    when, score, true = (np.concatenate(each)[order] for each in (moments, scores, trues))
    is_better = np.diff(np.maximum.accumulate(score), prepend=-1.0) > 0
    return when[is_better], true[is_better]


@dataclass(frozen=True)
class Outcome:
    """What one run came to: the incumbent's true best at MOMENTS (NaN before the first epoch and after `reached`)."""

    player: str
    setting: Setting
    seed: int
    bests: np.ndarray
    finalists: float
    training_share: float
    reached: float  # share of the limit
    points: int
    driver_seconds: float


def played(world: World, player: str, setting: Setting, seed: int, unit: float) -> Outcome:
    """One run of one competitor. `unit` is the mean seconds of a full training."""
    limit = setting.trainings * unit
    run = replay(PLAYERS[player](world, seed), setting.workers, limit, seed, setting.most_seconds)
    share = 1.0 - run.idle / (setting.workers * run.reached) if run.reached else 1.0
    points = len({task.key for task in run.tasks})
    reached, seconds = run.reached / limit, run.driver_seconds
    return Outcome(player, setting, seed, at_moments(run), finalists(run), share, reached, points, seconds)


def at_moments(run: Replay) -> np.ndarray:
    """The incumbent's true best at each of MOMENTS, NaN where there is none or the run did not come so far."""
    when, trues = incumbents(run)
    moments = MOMENTS * run.limit
    places = np.searchsorted(when, moments, side="right") - 1
    is_known = (places >= 0) & (moments <= run.reached * (1 + 1e-9))
    found = np.full(len(moments), np.nan)
    found[is_known] = trues[places[is_known]]
    return found


@dataclass(frozen=True)
class Row:
    """One competitor in one setting, over its seeds. Regrets in points of accuracy, quartiles at CHECKPOINTS."""

    player: str
    setting: Setting
    seeds: int
    regret: np.ndarray  # (MOMENTS,), the median
    quartiles: list[tuple[float, float, float]]
    finalists: float  # the regret of the best of FINALISTS at the end, the median
    mean: float  # of the same, and its standard error
    error: float
    sooner: float  # share of the limit at which random search's last regret is reached; NaN: never
    training_share: float
    points: float
    driver_seconds: float
    reached: float


def rows(outcomes: list[Outcome], best: float) -> list[Row]:
    """The rows of one setting, in the order of PLAYERS."""
    best = max([best, *(float(np.nanmax(outcome.bests)) for outcome in outcomes)])
    named = {name: [o for o in outcomes if o.player == name] for name in PLAYERS}
    regrets = {name: 100 * (best - np.stack([o.bests for o in runs])) for name, runs in named.items() if runs}
    medians = {name: _medians(each, 0.5) for name, each in regrets.items()}
    goal = medians["random"][-1] if "random" in medians else np.nan
    return [_row(named[name], regrets[name], medians[name], goal, best) for name in regrets]


def _medians(regrets: np.ndarray, share: float) -> np.ndarray:
    """A quantile over the runs, NaN at moments that not every run reached; before its first epoch a run is worst."""
    began = np.maximum.accumulate(~np.isnan(regrets), axis=1)
    filled = np.where(began, regrets, np.inf)
    return np.quantile(filled, share, axis=0, method="median_unbiased" if share == 0.5 else "nearest")


def _row(runs: list[Outcome], regrets: np.ndarray, median: np.ndarray, goal: float, best: float) -> Row:
    places = [round(share * len(MOMENTS)) - 1 for share in CHECKPOINTS]
    quartiles = [tuple(_medians(regrets, share)[place] for share in (0.25, 0.5, 0.75)) for place in places]
    reaching = np.flatnonzero(median <= goal)
    sooner = float(MOMENTS[reaching[0]]) if len(reaching) else float("nan")
    shares, points, seconds, reached = (
        float(np.mean([getattr(run, name) for run in runs]))
        for name in ("training_share", "points", "driver_seconds", "reached")
    )
    ends = 100 * (best - np.array([run.finalists for run in runs]))
    error = float(np.nanstd(ends) / np.sqrt(len(ends)))
    first = runs[0]
    return Row(
        first.player,
        first.setting,
        len(runs),
        median,
        quartiles,
        float(np.median(ends)),
        float(np.nanmean(ends)),
        error,
        sooner,
        shares,
        points,
        seconds,
        reached,
    )


def text_of(row: Row) -> str:
    """A line of the table."""
    regrets = "  ".join(f"{mid:5.2f} ({low:5.2f} {high:5.2f})" for low, mid, high in row.quartiles)
    sooner = "   -" if np.isnan(row.sooner) else f"{100 * row.sooner:3.0f}%"
    cut = "" if row.reached > 0.999 else f"  given up at {100 * row.reached:.0f} % of the time"
    counts = f"{row.points:7.0f}  {1e3 * row.driver_seconds / max(1.0, row.points):6.1f}  {row.seeds:5}"
    final = f"{row.finalists:9.2f}  {row.mean:5.2f} +- {row.error:.2f}"
    return f"{row.player:<17} {regrets}  {final}  {sooner}  {100 * row.training_share:6.1f}  {counts}{cut}"


HEAD = (
    f"{'':17} "
    + "  ".join(f"regret at {100 * share:3.0f} %      " for share in CHECKPOINTS)
    + " finalists      their mean  as random  training %   points  ms each  seeds"
)


_world: World | None = None  # of a process of the pool: it is made once


def _begin(curves: Path, rough: float) -> None:
    global _world
    threadpool_limits(1)  # each process has its core
    _world = World(read(curves), FAIL_SHARE, rough)


def _play(player: str, setting: Setting, seed: int, unit: float) -> Outcome:
    assert _world is not None
    return played(_world, player, setting, seed, unit)


def seeds_of(player: str, setting: Setting, seeds: list[int]) -> list[int]:
    """Fewer seeds for what would take the benchmark too long; the table says how many."""
    fewer = FEWER_SEEDS.get((player.split()[0] if player.startswith("optuna") else player, setting.workers))
    return seeds if fewer is None else seeds[:fewer]


def play_all(
    curves: Path, rough: float, settings: list[Setting], seeds: list[int], players: list[str], unit: float
) -> list[Outcome]:
    """Every run, two at a time, the longest first."""
    jobs = [(p, s, seed, unit) for s in reversed(settings) for p in players for seed in seeds_of(p, s, seeds)]
    with ProcessPoolExecutor(2, initializer=_begin, initargs=(curves, rough)) as pool:
        return list(pool.map(_play, *zip(*jobs, strict=True)))


def draw(all_rows: list[Row], path: Path) -> str:
    """Regret over time as a picture; says what it did."""
    try:
        import matplotlib
    except ImportError:
        return "no picture: matplotlib is not installed (pip install matplotlib)"
    matplotlib.use("svg" if path.suffix == ".svg" else "agg")
    from matplotlib import pyplot

    settings = list(dict.fromkeys(row.setting for row in all_rows))
    figure, grid = pyplot.subplots(1, len(settings), figsize=(5 * len(settings), 4), sharey=True, squeeze=False)
    axes = grid[0]
    for axis, setting in zip(axes, settings, strict=True):
        for row in (row for row in all_rows if row.setting == setting):
            axis.plot(MOMENTS * setting.trainings, row.regret, label=row.player)
        axis.set(title=f"{setting.workers:,} workers", xlabel="full trainings a worker", yscale="log")
    axes[0].set_ylabel("median regret, points of accuracy")
    axes[-1].legend()
    figure.tight_layout()
    figure.savefig(path)
    return f"drawn: {path}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Which oracle finds the best network soonest.")
    parser.add_argument("--curves", type=Path, default=CURVES)
    parser.add_argument("--seeds", default="0-19", help="first and last, e.g. 0-19")
    parser.add_argument("--players", default=",".join(PLAYERS), help="some of: " + ", ".join(PLAYERS))
    parser.add_argument("--workers", default=",".join(str(s.workers) for s in SETTINGS), help="some of 1, 2, 8, 1000")
    parser.add_argument("--rough", type=float, default=0.5, help="share of its errors that belong to the points")
    parser.add_argument("--plot", type=Path, default=None, help="a file to draw regret over time in, .svg or .png")
    asked = parser.parse_args()
    first, last = map(int, asked.seeds.split("-"))
    seeds = list(range(first, last + 1))
    settings = [setting for setting in SETTINGS if str(setting.workers) in asked.workers.split(",")]
    began = time.perf_counter()
    with threadpool_limits(2):
        world = World(read(asked.curves), FAIL_SHARE, asked.rough)
        best, unit = world.best(), world.full_seconds()
    print(f"{len(world.table.points)} curves: {world.table.about}")
    for each in world.quality:
        what = f"accuracy at epoch {each.epoch}" if each.epoch else "log seconds of an epoch"
        print(f"surrogate, cross-validated: {what}: R2 {each.r2:.2f}, Kendall tau {each.tau:.2f}")
    print(f"best found {100 * best:.2f} %; a mean full training takes {unit:.0f} s; {FAIL_SHARE:.0%} of points fail")
    outcomes = play_all(asked.curves, asked.rough, settings, seeds, asked.players.split(","), unit)
    all_rows: list[Row] = []
    for setting in settings:
        print(f"\n{setting.workers:,} workers, {setting.trainings:g} mean full trainings each\n{HEAD}")
        found = rows([o for o in outcomes if o.setting == setting], best)
        print("\n".join(map(text_of, found)), flush=True)
        all_rows += found
    print(f"\nin all {time.perf_counter() - began:.0f} s")
    if asked.plot is not None:
        print(draw(all_rows, asked.plot))


if __name__ == "__main__":
    main()
