"""cnn-tuner plan: what a search would do, before anything is searched."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cnn_tuner.commands.output import say
from cnn_tuner.commands.searching import takes_a_search
from cnn_tuner.metrics import strict_json
from cnn_tuner.terminal.screen import console

if TYPE_CHECKING:
    from cnn_tuner.search.tuning import Request


@takes_a_search
def plan(request: Request, as_json: bool) -> None:
    """Say what a budget buys: the space, what is infeasible and why, measured seconds an epoch, trials expected.

    It takes the options of cnn-tuner tune. Three points of the space are trained for a moment, which takes about half a
    minute; no run is made.
    """
    from cnn_tuner.search.observer import Silent
    from cnn_tuner.search.tuning import Tuning
    from cnn_tuner.terminal.plan_table import plan_lines, points_table

    tuning = Tuning(request, Silent())
    from cnn_tuner.search.planning import make_plan

    with tuning.workers_loading():
        config, dataset = tuning.prepare()
        found = make_plan(config, dataset, request.workers, request.runs, time.monotonic() - tuning.began)
    if as_json:
        print(strict_json.dumps(found.to_dict()))
        return
    before, after = plan_lines(config, found)
    for line in before:
        say(line)
    console().print(points_table(found))
    for line in after:
        say(line)
