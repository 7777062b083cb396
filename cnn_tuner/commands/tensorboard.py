"""cnn-tuner tensorboard, logs: a run in the browser, and what it reads there."""

from __future__ import annotations

import os
import threading
from typing import Annotated

import typer

from cnn_tuner.api.words import RUNS
from cnn_tuner.commands.options import JsonOption, RunArgument, RunsOption, open_run
from cnn_tuner.commands.output import INTERRUPTED, say
from cnn_tuner.errors import UsageError
from cnn_tuner.metrics import strict_json
from cnn_tuner.runs import folders

MOST_SELECTED = 500
FEW_RUNS = "#timeseries&runFilter=best%7C%5C."  # the best model, and the root with the search's progress
LOOPBACK = "127.0.0.1"  # TensorBoard has no authentication, and the logs hold pictures of the data


def tensorboard(
    run: RunArgument = None,
    port: Annotated[int | None, typer.Option(help="Port on this machine. Default: 6006, or the next free one.")] = None,
    folder: RunsOption = RUNS,
) -> None:
    """Show a run in TensorBoard, to this machine only. Ctrl-C ends it."""
    opened = open_run(folder, run)
    trials = opened.last_trial()
    opened.close()
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # TensorBoard loads TensorFlow, and a search beside it needs the memory
    from tensorboard import program

    server = program.TensorBoard()
    address = ["--host", LOOPBACK, *([] if port is None else ["--port", str(port)])]
    # Said outright, the fast loader is started without a notice about it being new.
    fast = ["--load_fast", "true" if _has_fast_loader() else "false"]
    server.configure(argv=["tensorboard", "--logdir", str(opened.tensorboard), *address, *fast])
    try:
        url = server.launch()
    except program.TensorBoardServerException as error:
        raise UsageError(f"--port: TensorBoard cannot be served: {error}") from error
    say(f"{opened.folder.name} in TensorBoard at {url} (Ctrl-C ends it)")
    if trials >= MOST_SELECTED:
        say(f"of more than {MOST_SELECTED} runs TensorBoard selects none: tick those wanted, as at {url}{FEW_RUNS}")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        # Without Python's own end: it stops TensorBoard's threads where they are, and aborts if one is importing
        # TensorFlow, as they do for the first page. The data server ends when its standard input is closed.
        os._exit(INTERRUPTED)


def logs(
    run: RunArgument = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Write them again from the run's store.")] = False,
    folder: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Say where a run's TensorBoard logs lie and what they take, or write them again from its store."""
    opened = open_run(folder, run)
    if rebuild:
        with folders.locked(opened.folder):
            from cnn_tuner.logs import rebuilding

            rebuilding.rebuild(opened)
    files = [file for file in opened.tensorboard.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    if as_json:
        print(
            strict_json.dumps({"logs": str(opened.tensorboard), "files": len(files), "bytes": size, "rebuilt": rebuild})
        )
        return
    done = ", written again" if rebuild else ""
    say(f"{opened.tensorboard}: {opened.last_trial()} trials in {len(files)} files of {size / 2**20:.1f} MB{done}")


def _has_fast_loader() -> bool:
    """Whether TensorBoard's data server was built for this machine."""
    try:
        import tensorboard_data_server
    except ImportError:
        return False
    return tensorboard_data_server.server_binary() is not None
