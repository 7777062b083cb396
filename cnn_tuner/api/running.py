"""One session at work on a run, from its beginning to its end: who watches it, what stops it, what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from cnn_tuner.api.events import Telling
from cnn_tuner.api.loading import quiet_tensorflow
from cnn_tuner.api.stopping import stopping_on_signal
from cnn_tuner.api.words import worker_options
from cnn_tuner.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from cnn_tuner.data.cache import Cache
    from cnn_tuner.runs.store import RunStore
    from cnn_tuner.search.observer import Observer
    from cnn_tuner.search.resuming import Resuming
    from cnn_tuner.search.session import Outcome
    from cnn_tuner.search.tuning import Tuning
    from cnn_tuner.search.winner import Export
    from cnn_tuner.terminal.reporters import Reporter

Verbose = Literal["auto", 0, 1]


def reporter_of(verbose: Verbose) -> Reporter:
    """What shows a run: nothing (0), a line a trial (1), or what suits where this is ("auto")."""
    from rich.console import Console

    from cnn_tuner.api import notebook
    from cnn_tuner.terminal import live_view
    from cnn_tuner.terminal.reporters import Reporter
    from cnn_tuner.terminal.screen import console

    if verbose not in ("auto", 0, 1):
        raise UsageError(f"verbose: must be 'auto', 0 (silent) or 1 (a line a trial), got {verbose!r}")
    if verbose == 0:
        return Reporter(Console(quiet=True))
    if verbose == "auto" and notebook.is_here():
        return notebook.NotebookReporter()
    return Reporter(console()) if verbose == 1 else live_view.reporter(console())


def run(make: Callable[[Observer], Tuning | Resuming], telling: Telling, is_debug: bool = False) -> Outcome:
    """Runs a session to its end. The first Ctrl-C ends it with the best so far exported, the second at once.

    Args:
        make: makes the session, watched by the observer that it is given.
        telling: shows it, and tells callbacks of it.
        is_debug: whether what TensorFlow says while it is loaded is heard.

    Raises:
        KeyboardInterrupt: a second Ctrl-C, or a first one before there is a run.
        CnnTunerError: as `Tuning.run` and `Resuming.run`.
        Exception: what a callback raised.
    """
    reporter = telling.reporter
    try:
        session = make(telling)
        telling.begin(session)
        with stopping_on_signal(session, reporter.line), quiet_tensorflow(is_debug), session.workers_loading():
            outcome = session.run()
    except BaseException as error:
        reporter.close()
        telling.end(None)
        if isinstance(error, KeyboardInterrupt) and reporter.run is not None:
            name = reporter.run.folder.name
            reporter.line(f"ended at once; cnn-tuner resume {name} goes on, cnn-tuner export {name} exports the best")
        if telling.failure not in (None, error):
            raise telling.failure from error  # a callback's own, whatever was made of it on the way
        raise
    reporter.close()
    telling.end(outcome.folder)
    return outcome


def hushed(cache: Cache | None, verbose: Verbose) -> Cache | None:
    """The same cache, which does not show how far it is where nothing is to be shown."""
    from cnn_tuner.data.cache import silent

    return cache if cache is None or verbose else replace(cache, tell=silent)


def check_formats(outcome: Outcome) -> None:
    """Raises VerificationError when the export has not all formats that were asked for."""
    if outcome.unmet:
        raise VerificationError(f"the export lacks a format: {outcome.unmet}")


def export(
    run: RunStore,
    reporter: Reporter,
    trial: int | None = None,
    formats: Sequence[str] | None = None,
    data: Any = None,
    cache: Cache | None = None,
    command: str = "",
    hypermodel: Any = None,
) -> Export:
    """Exports a run's winner, or a trial: see `cnn_tuner.search.tuning.export_run`."""
    from cnn_tuner.search.session import Session
    from cnn_tuner.search.tuning import export_run

    reporter.run = run
    try:
        with quiet_tensorflow():
            session = Session(reporter, worker_options(1), command)
            session.hypermodel = hypermodel
            return export_run(run, session, trial, formats, data, cache)
    finally:
        reporter.close()
