"""cnn-tuner tensorboard: a run in the browser."""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from cnn_tuner.commands.options import RUNS, RunArgument, RunsOption, open_run
from cnn_tuner.commands.output import say
from cnn_tuner.commands.quiet import quiet_tensorflow
from cnn_tuner.errors import UsageError

LOOPBACK = "127.0.0.1"  # TensorBoard has no authentication, and the logs hold pictures of the data


def tensorboard(
    run: RunArgument = None,
    port: Annotated[int | None, typer.Option(help="Port on this machine. Default: 6006, or the next free one.")] = None,
    folder: RunsOption = RUNS,
) -> None:
    """Show a run in TensorBoard, to this machine only. Ctrl-C ends it."""
    opened = open_run(folder, run)
    opened.close()
    with quiet_tensorflow():
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
    threading.Event().wait()


def _has_fast_loader() -> bool:
    """Whether TensorBoard's data server was built for this machine."""
    try:
        import tensorboard_data_server
    except ImportError:
        return False
    return tensorboard_data_server.server_binary() is not None
