"""Options that come in groups: which workspace, with which key; and what an export writes."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator  # noqa: TC003 - cyclopts reads the annotations at run time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING, Annotated, Unpack

from cyclopts import Parameter
from cyclopts.validators import Number

from braze_segments_async._api_keys import read_key, read_secret
from braze_segments_async._arguments import Consistency, Format  # noqa: TC001
from braze_segments_async._instances import Instance  # noqa: TC001 - cyclopts reads the annotations at run time
from braze_segments_async._text import Secret, escape_control
from braze_segments_async.errors import ConfigError

from .configuration import default_path, environment_proxy, find_workspace

if TYPE_CHECKING:
    from braze_segments_async._client import BrazeSegments
    from braze_segments_async._settings import ClientOptions
    from braze_segments_async.export import ExportOptions

__all__ = [
    "MAX_WAIT",
    "Connection",
    "ExportArguments",
    "MaxWait",
    "WorkspacesArguments",
    "parse_env",
]

MAX_WAIT = 3_900.0  # a window of an hour, and a little
MaxWait = Annotated[float, Parameter(validator=Number(gte=0))]

_SANDBOX_SEGMENTS = 250
_BRAZE_LINE = re.compile(r"\s*(?:export\s+)?BRAZE_")
_ENV_LINE = re.compile(
    r"""\s*(?:export\s+)?(BRAZE_\w+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'\#]\S*)?)\s*(?:\#.*)?"""
)


@Parameter(name="*", group="Workspace")
@dataclass(frozen=True, kw_only=True)
class Connection:
    """The workspace and the key. There is no option for the key: others could read it in the process list.

    An option has precedence over the environment, and the environment over the configuration file.

    Attributes:
        workspace: Name of a workspace in the configuration file. By default its only workspace, if neither an
            option nor the environment gives a key or an endpoint.
        config: Configuration file; `braze-segments config path` prints the default.
        instance: Cluster of the workspace.
        base_url: REST endpoint, for a cluster that is not in this list; or the name of a cluster.
        api_key_file: File with the API key.
        env_file: File with lines NAME=VALUE that set BRAZE_API_KEY and BRAZE_BASE_URL where the environment
            does not.
        proxy: URL of a forward proxy, such as http://proxy.example.com:3128; not used for hosts in
            NO_PROXY. Put a password only into HTTPS_PROXY: others can read options.
        sandbox: Use an invented workspace on this machine; needs no key.
        segments: Number of segments in the invented workspace.
    """

    workspace: str | None = None
    config: Path | None = None
    instance: Instance | None = None
    base_url: Annotated[str | None, Parameter(metavar="URL", show_default="$BRAZE_BASE_URL")] = None
    api_key_file: Annotated[Path | None, Parameter(show_default="$BRAZE_API_KEY")] = None
    env_file: Path | None = None
    proxy: Annotated[str | None, Parameter(metavar="URL", show_default="$HTTPS_PROXY")] = None
    sandbox: bool = False
    segments: Annotated[int | None, Parameter(validator=Number(gte=0), show_default="250")] = None

    @asynccontextmanager
    async def client(self, **options: Unpack[ClientOptions]) -> AsyncGenerator[BrazeSegments, None]:
        """Open a client of the workspace, and start its sandbox if it has one.

        Args:
            options: The other arguments of the client.

        Yields:
            The client, which is closed with the block.

        Raises:
            ConfigError: Options contradict each other, the key or the endpoint is missing, or a file cannot
                be used.
        """
        from braze_segments_async._client import BrazeSegments  # noqa: PLC0415 - --help does without

        self._check()
        async with AsyncExitStack() as stack:
            if self.sandbox:
                from braze_segments_async.sandbox import Sandbox  # noqa: PLC0415

                size = _SANDBOX_SEGMENTS if self.segments is None else self.segments
                server = await stack.enter_async_context(Sandbox(size))
                key, options["base_url"] = server.api_key, server.base_url
            else:
                key, url, proxy = self._key_url_and_proxy()
                options["base_url"], options["proxy"] = url, self.proxy or environment_proxy(url) or proxy
            yield await stack.enter_async_context(BrazeSegments(key, **options))

    def _check(self) -> None:
        if self.instance is not None and self.base_url is not None:
            raise ConfigError("--instance and --base-url both name the endpoint: leave one out")
        if self.workspace is not None and self.env_file is not None:
            raise ConfigError("--workspace and --env-file both name the workspace: leave one out")
        if not self.sandbox:
            if self.segments is not None:
                raise ConfigError("--segments needs --sandbox")
            return
        for name in ("workspace", "config", "instance", "base_url", "api_key_file", "env_file", "proxy"):
            if getattr(self, name) is not None:
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(f"--sandbox has its own key and endpoint: leave {option} out")

    def _key_url_and_proxy(self) -> tuple[str, str, str | None]:
        """Return key, endpoint and proxy: of the options, else the environment, else the configuration file.

        The key and the endpoint of a workspace belong together. So `--workspace` takes neither of them from
        the environment, and the only workspace of the file is used only if neither is given elsewhere.
        """
        url = self.base_url if self.instance is None else self.instance
        if self.workspace is None and (found := self._from_environment(url)) is not None:
            return (*found, None)
        config = find_workspace(self.workspace, self.config)
        if config is None:
            raise ConfigError(
                "no API key and no REST endpoint: set BRAZE_API_KEY and BRAZE_BASE_URL, use options, or "
                f"describe the workspace in {escape_control(str(default_path()))}"
            )
        key = config.read_key() if self.api_key_file is None else read_key(self.api_key_file)
        return key, config.base_url if url is None else url, config.proxy

    def _from_environment(self, url: str | None) -> tuple[str, str] | None:
        """Return the key and the endpoint of the options, the environment and the env file, if any is there.

        Args:
            url: The endpoint of the options.
        """
        in_file: dict[str, Secret] = {}
        if self.env_file is not None:
            in_file = parse_env(read_secret(self.env_file), escape_control(str(self.env_file)))

        def value(variable: str) -> Secret:
            return Secret(os.environ.get(variable) or in_file.get(variable, ""))

        key = value("BRAZE_API_KEY") if self.api_key_file is None else read_key(self.api_key_file)
        endpoint = value("BRAZE_BASE_URL") if url is None else url
        if not key and not endpoint and url is None:
            return None
        if not key:
            raise ConfigError(
                "no API key: set BRAZE_API_KEY, or use --api-key-file, --env-file or --workspace"
            )
        if not endpoint and url is None:
            raise ConfigError(
                "no REST endpoint: use --instance, --base-url or --workspace, or set BRAZE_BASE_URL"
            )
        return key, endpoint


# Not python-dotenv, which skips a line that it cannot parse, such as one with an unfinished quote; takes
# `KEY comment` of the line `BRAZE_API_KEY=KEY comment` for the key; and parses lines with other names, one of
# which can hide the next line if it is malformed.
def parse_env(text: str, file: str) -> dict[str, Secret]:
    """Return the values of the lines `BRAZE_NAME=VALUE`; lines with other names are ignored.

    `export` in front, quotes around the value, and comments are allowed.

    Args:
        text: Content of the file.
        file: Name of the file in messages.

    Raises:
        ConfigError: Such a line is malformed. The message does not show it, as it may hold a key.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if _BRAZE_LINE.match(line):
            parts = _ENV_LINE.fullmatch(line)
            if parts is None:
                raise ConfigError(f"{file}, line {number}: write it as NAME=VALUE or NAME='VALUE'")
            name, *values = parts.groups()
            found[name] = Secret(next((value for value in values if value is not None), ""))
    return found


@Parameter(name="*", group="Many workspaces")
@dataclass(frozen=True, kw_only=True)
class WorkspacesArguments:
    """Several workspaces at the same time.

    Attributes:
        workspaces: TOML file that lists the workspaces and the places of their keys. FILE is then the
            directory for the output files.
        dask: Address of the dask scheduler whose workers run the exports, such as tcp://scheduler:8786, or
            local to run them in this process.
        worker_timeout: With --dask, the maximum seconds without any worker.
        parallel: Maximum number of workspaces that are exported at the same time.
    """

    workspaces: Path | None = None
    dask: Annotated[str | None, Parameter(metavar="ADDRESS")] = None
    worker_timeout: Annotated[float | None, Parameter(validator=Number(gt=0), show_default="600")] = None
    parallel: Annotated[
        int | None,
        Parameter(validator=Number(gte=1), show_default="by the limit of open files"),
    ] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ExportArguments:
    """The options of an export; see `ExportOptions`, which checks them.

    Attributes:
        output: Another way to give FILE; - is standard output.
        format: Output format; overrides the file extension.
        resume: Continue an interrupted export to this file; if it is finished, do nothing. With --overwrite,
            for every night: continue what was interrupted tonight, else start afresh.
        resume_within: Maximum age of an interrupted export to resume, such as 90s, 30m, 12h or 1d.
            An older one is refused, or discarded with --overwrite.
        overwrite: Replace an existing file, in one step when the export is complete.
        allow_partial: Write although some segments could not be fetched; a file beside it lists them.
        consistency: Protection against edits while the list is read: safe reads each page twice,
            strict reads the list in both directions until both agree, fast reads it once.
        sizes: Add the size history of so many days. Needs the permission segments.data_series.
        csv_safe: Put an apostrophe before text that a spreadsheet would evaluate as a formula.
        json: Print the result as one JSON object on standard output.
        metrics: A file with the result for Prometheus: a name that ends in .prom, in the directory of the
            textfile collector of node_exporter.
        excel: Write CSV for Excel: with a byte order mark, times as Excel reads them, and --csv-safe.
        quiet: Print no progress and no summary, only errors.
        verbose: Print each retry and each pause, too.
    """

    output: Annotated[Path | None, Parameter(name=["--output", "-o"], allow_leading_hyphen=True)] = None
    format: Format | None = None
    resume: bool = False
    resume_within: Annotated[str | None, Parameter(metavar="AGE", show_default="12h")] = None
    overwrite: bool = False
    allow_partial: bool = False
    consistency: Consistency = "safe"
    sizes: int | None = None
    csv_safe: bool = False
    json: bool = False
    metrics: Path | None = None
    excel: bool = False
    quiet: bool = False
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"])] = False

    @property
    def file(self) -> Path | None:
        """The file; `None` for standard output."""
        return None if self.output is None or str(self.output) == "-" else self.output

    def to_options(self, default_format: Format, *, concurrency: int, max_wait: float) -> ExportOptions:
        """Return the options for the library.

        Args:
            default_format: The format if `--format` is not given.
            concurrency: Maximum number of requests in flight.
            max_wait: Maximum number of seconds to wait for the rate limit.

        Raises:
            ConfigError: An option is wrong, or a package is missing that the format needs.
        """
        # Imported here: --help needs none of them.
        from braze_segments_async._settings import RetryPolicy  # noqa: PLC0415
        from braze_segments_async.export import RESUME_WITHIN, ExportOptions, parse_duration  # noqa: PLC0415

        within = self.resume_within
        return ExportOptions(
            format=self.format or default_format,
            consistency=self.consistency,
            concurrency=concurrency,
            resume=self.resume,
            resume_within=RESUME_WITHIN if within is None else parse_duration("--resume-within", within),
            overwrite=self.overwrite,
            allow_partial=self.allow_partial,
            csv_safe=self.csv_safe,
            excel=self.excel,
            sizes=self.sizes,
            retry=RetryPolicy(max_rate_limit_wait=max_wait),
        )

    def check_lines(self) -> None:
        """Refuse options that need a file.

        Raises:
            ConfigError: An option needs a file.
        """
        if self.format in {"parquet", "sqlite", "html", "xlsx"}:
            raise ConfigError(f"{self.format} is a file of its own: name it with --output")
        for option in ("resume", "resume_within", "overwrite", "sizes", "json"):
            if getattr(self, option):
                name = option.replace("_", "-")
                raise ConfigError(f"--{name} needs a file: name it with --output")
