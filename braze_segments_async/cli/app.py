"""The commands and their options. The slow imports are inside functions, so that `--help` stays fast."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from braze_segments_async._version import __version__

from .arguments import MAX_WAIT, Connection, ExportArguments, MaxWait, WorkspacesArguments
from .commands.cancel import cancel
from .commands.check import check
from .commands.config import config
from .commands.details import details
from .commands.diff import diff
from .commands.list import list_segments
from .commands.sizes import sizes
from .commands.users import users

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
    """Export every segment with its details to a file or to standard output.

    The output file appears only after the export is complete. If the export is
    interrupted, run the same command with --resume to continue.

    The API key needs the permissions segments.list and segments.details.

    Exit codes: 0 done, 1 failed, 2 wrong use (nothing was sent to Braze), 3 some
    segments could not be fetched, 4 rate-limited for longer than --max-wait, 5
    the key is refused or lacks a permission, 130 Ctrl-C, 143 SIGTERM.

    Args:
        choices: The output.
        many: The workspaces, if there are several.
        concurrency: Maximum number of requests in flight; 16 by default.
        max_wait: Maximum seconds to wait for the rate limit; 3,900 by default, as it resets each hour.
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
        port: Port on 127.0.0.1; 8765 by default, 0 for a free one.
        segments: Number of segments; 250 by default.
        seed: Number that decides names, sizes and dates.
        latency: Seconds before each response.
    """
    from .commands.sandbox import run_sandbox  # noqa: PLC0415 - see above

    return run_sandbox(port=port, segments=segments, seed=seed, latency=latency)


app.command(list_segments, name="list")
for command in (details, sizes, check, diff, users, cancel):
    app.command(command)
app.command(config)
app.register_install_completion_command(help="Install completion of commands and options for this shell.")
