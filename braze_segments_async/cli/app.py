"""The commands and their options. The slow imports are inside functions, so that `--help` stays fast."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from braze_segments_async._version import __version__

from .arguments import MAX_WAIT, Connection, ExportArguments, MaxWait, WorkspacesArguments
from .commands.audit import audit
from .commands.cancel import cancel
from .commands.check import check
from .commands.details import details
from .commands.diff import diff
from .commands.history import history
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
    segments could not be fetched, 4 rate-limited for longer than --max-wait, 130
    Ctrl-C, 143 SIGTERM.

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
    fault: tuple[str, ...] = (),
    rate_limit: str | None = None,
    permissions: str | None = None,
    api_key: str = "sandbox-api-key",
    log: bool = False,
) -> int:
    """Serve an invented workspace on this machine until Ctrl-C.

    Any client in any language can use it in place of Braze.

    With --fault 503@list:3 the third request for a page of the list fails, with
    503@list:3-5 three of them, with 503@details:10% one in ten requests for
    details, and with 429 every request. 2.5s@details makes details slow. The
    endpoints are list, details, data_series, users, cancel and file (the exported
    files). The option can be repeated; the first that matches applies.

    Args:
        port: Port on 127.0.0.1; 8765 by default, 0 for a free one.
        segments: Number of segments; 250 by default.
        seed: Number that decides names, sizes and dates.
        latency: Seconds before each response.
        fault: STATUS@ENDPOINT:WHICH, as above.
        rate_limit: Requests and seconds of a window, such as 500/2s; 250000/3600s by default.
        permissions: Permissions of the key, with commas between; all by default.
        api_key: The only valid key, which is no secret; sandbox-api-key by default.
        log: Print each request to standard error.
    """
    from .commands.sandbox import run_sandbox  # noqa: PLC0415 - see above

    return run_sandbox(
        port=port,
        segments=segments,
        seed=seed,
        latency=latency,
        faults=fault,
        rate_limit=rate_limit,
        permissions=permissions,
        api_key=api_key,
        log=log,
    )


app.command(list_segments, name="list")
for command in (details, sizes, check, diff, audit, history, users, cancel):
    app.command(command)
app.register_install_completion_command(help="Install completion of commands and options for this shell.")
