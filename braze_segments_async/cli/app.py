"""The commands and their options. What they do is imported when it is asked for: `--help` needs none."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from braze_segments_async._version import __version__

from .arguments import MAX_WAIT, Connection, ExportArguments, MaxWait, WorkspacesArguments
from .commands import read, users

__all__ = ["app"]

app = App(
    name="braze-segments",
    version=__version__,
    help="Every segment of a Braze workspace, with its details.",
    help_format="plaintext",
    default_parameter=Parameter(negative=(), show_default=False),
)


@app.command
def export(
    *,
    choices: ExportArguments = ExportArguments(),  # noqa: B008 - frozen
    many: WorkspacesArguments = WorkspacesArguments(),  # noqa: B008
    concurrency: Annotated[int, Parameter(validator=Number(gte=1))] = 16,
    max_wait: MaxWait = MAX_WAIT,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """Write every segment with its details to a file, or as lines to standard output.

    A file is there once it is whole, and not before. What is interrupted goes on with --resume.

    The API key needs the permissions segments.list and segments.details.

    Exit codes: 0 done, 1 failed, 2 wrong use (nothing was sent to Braze), 3 some segments could not be
    fetched, 4 rate-limited beyond --max-wait, 130 Ctrl-C, 143 SIGTERM.

    Args:
        choices: What is written, and how.
        many: The workspaces, if there are several.
        concurrency: Requests in flight at once, at most; 16 unless given.
        max_wait: Seconds to wait for the rate limit, at most; 3,900 unless given, as it resets each hour.
        connection: The workspace.
    """
    if many != WorkspacesArguments():
        from .commands.workspaces import run_workspaces  # noqa: PLC0415 - see above

        return run_workspaces(many, choices, connection, concurrency=concurrency, max_wait=max_wait)
    from .commands.export import run_export  # noqa: PLC0415

    return run_export(choices, connection, concurrency=concurrency, max_wait=max_wait)


@app.command(name="sandbox")
def serve(
    *,
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 8765,
    segments: Annotated[int, Parameter(validator=Number(gte=0))] = 250,
    seed: int = 0,
    latency: Annotated[float, Parameter(validator=Number(gte=0))] = 0.0,
) -> int:
    """Serve an invented workspace on this machine until Ctrl-C.

    Args:
        port: Port on 127.0.0.1, 8765 unless given; 0 takes a free one.
        segments: How many segments it has; 250 unless given.
        seed: Another seed is another workspace.
        latency: Seconds before each answer.
    """
    from .commands.sandbox import run_sandbox  # noqa: PLC0415 - see above

    return run_sandbox(port=port, segments=segments, seed=seed, latency=latency)


app.command(read.list_segments, name="list")
app.command(read.details)
app.command(read.sizes)
app.command(read.check)
app.command(read.diff)
app.command(users.users)
app.command(users.cancel)
app.register_install_completion_command(help="Install completion of commands and options for this shell.")
