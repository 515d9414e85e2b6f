"""The commands and their options. The slow imports are inside functions, so that `--help` stays fast."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003
from dataclasses import replace
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import Annotated

from cyclopts import App, Group, Parameter
from cyclopts.validators import Number

from braze_segments_async._version import __version__

from .arguments import MAX_WAIT, Connection, ExportArguments, MaxWait, WorkspacesArguments
from .commands.audit import audit
from .commands.cancel import cancel
from .commands.check import check
from .commands.config import config
from .commands.details import details
from .commands.diff import diff
from .commands.history import history
from .commands.list import list_segments
from .commands.report import report
from .commands.sizes import sizes
from .commands.users import users
from .help import HelpFormatter, default_text, examples, exit_with_usage_error
from .runner import usage_error

__all__ = ["app"]

_EXAMPLES = examples("check", "export segments.parquet")

app = App(
    name="braze-segments",
    version=__version__,
    help="Every segment of a Braze workspace, with its details.",
    help_format="plaintext",
    help_formatter=HelpFormatter(),
    help_epilogue=_EXAMPLES,
    group_parameters=Group("Options", sort_key=0),
    error_formatter=exit_with_usage_error,
    default_parameter=Parameter(negative=(), show_default=default_text),
)


@app.command(
    help_epilogue=examples(
        "export segments.parquet",
        "export --sizes 90 --resume --overwrite nightly.sqlite",
    )
)
def export(
    file: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    /,
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
        file: The output file: .ndjson, .jsonl, .csv, .parquet, .sqlite, .db, .xlsx or .html. Without it,
            NDJSON or CSV is written to standard output.
        choices: The output.
        many: The workspaces, if there are several.
        concurrency: Maximum number of requests in flight.
        max_wait: Maximum seconds to wait for the rate limit, which resets each hour.
        connection: The workspace.
    """
    if file is not None:
        if choices.output is not None:
            return usage_error(f"{file} and --output {choices.output} are two files: name one")
        choices = replace(choices, output=file)
    if many != WorkspacesArguments():
        if choices.json:
            return usage_error(
                "--json is for one workspace; with --workspaces, a pipe gets one line for each"
            )
        from .commands.workspaces import run_workspaces  # noqa: PLC0415 - see above

        return run_workspaces(many, choices, connection, concurrency=concurrency, max_wait=max_wait)
    from .commands.export import run_export  # noqa: PLC0415

    return run_export(choices, connection, concurrency=concurrency, max_wait=max_wait)


@app.command(
    name="sandbox", help_epilogue=examples("sandbox --segments 1200", "sandbox --latency 0.1 --port 0")
)
def serve(
    *,
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 8765,
    segments: Annotated[int, Parameter(validator=Number(gte=0))] = 250,
    seed: int = 0,
    latency: Annotated[float, Parameter(validator=Number(gte=0))] = 0.0,
    fault: tuple[str, ...] = (),
    rate_limit: Annotated[str | None, Parameter(show_default="250000/3600s")] = None,
    permissions: Annotated[str | None, Parameter(show_default="all")] = None,
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
        port: Port on 127.0.0.1; 0 for a free one.
        segments: Number of segments.
        seed: Number that decides names, sizes and dates.
        latency: Seconds before each response.
        fault: STATUS@ENDPOINT:WHICH, as above.
        rate_limit: Requests and seconds of a window, such as 500/2s.
        permissions: Permissions of the key, with commas between.
        api_key: The only valid key, which is no secret.
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


_COMMANDS: dict[Callable[..., int], tuple[str, str]] = {
    list_segments: ("list --name vip --tag crm", "list --columns name,edited,size --sort size"),
    details: ("details ID", "list --tag crm | braze-segments details -"),
    sizes: ('sizes "VIP customers" --days 90', "sizes ID ID --json"),
    check: ("check", "check --instance eu-01 --json"),
    diff: ("diff monday.ndjson tuesday.ndjson", "diff old.csv new.csv --json"),
    audit: ("audit segments.sqlite", "audit segments.parquet --markdown"),
    history: ("history monday.ndjson tuesday.ndjson", "history exports/*.sqlite --segment ID"),
    report: (
        "report segments.sqlite -o report.html",
        "report tuesday.sqlite --previous monday.sqlite -o changes.html",
    ),
    users: ("users ID --fields external_id,email -o users.ndjson", "users ID --fields email | head"),
    cancel: ("cancel ID", "cancel ID --instance eu-01"),
}
for command, lines in _COMMANDS.items():
    app.command(command, name=command.__name__.partition("_")[0], help_epilogue=examples(*lines))
app.command(config)
app.register_install_completion_command(help="Install completion of commands and options for this shell.")
for flag in ("--help", "--version", "--install-completion"):
    app[flag].group = "Options"
