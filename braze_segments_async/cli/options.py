"""Options that come in groups: which workspace, with which key; and what an export writes."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator  # noqa: TC003 - cyclopts reads the annotations at run time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING, Annotated, Literal, Unpack

from cyclopts import Parameter
from cyclopts.validators import Number

from braze_segments_async.errors import ConfigError
from braze_segments_async.text import Secret, plain

if TYPE_CHECKING:
    from braze_segments_async.client import BrazeSegments
    from braze_segments_async.options import ClientOptions

__all__ = ["MAX_WAIT", "Choices", "Connection", "Instance", "MaxWait", "parse_env"]

MAX_WAIT = 3_900.0  # a window of an hour, and a little
MaxWait = Annotated[float, Parameter(validator=Number(gte=0))]

Format = Literal["ndjson", "csv", "parquet", "sqlite"]

_SANDBOX_SEGMENTS = 250
_NAMES_OURS = re.compile(r"\s*(?:export\s+)?BRAZE_")
_ENV_LINE = re.compile(
    r"""\s*(?:export\s+)?(BRAZE_\w+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'\#]\S*)?)\s*(?:\#.*)?"""
)


class Instance(Enum):
    """Braze's clusters, with their REST endpoints (Braze: "API endpoints")."""

    US_01 = "rest.iad-01.braze.com"
    US_02 = "rest.iad-02.braze.com"
    US_03 = "rest.iad-03.braze.com"
    US_04 = "rest.iad-04.braze.com"
    US_05 = "rest.iad-05.braze.com"
    US_06 = "rest.iad-06.braze.com"
    US_07 = "rest.iad-07.braze.com"
    US_08 = "rest.iad-08.braze.com"
    US_10 = "rest.us-10.braze.com"
    EU_01 = "rest.fra-01.braze.eu"
    EU_02 = "rest.fra-02.braze.eu"
    AU_01 = "rest.au-01.braze.com"
    ID_01 = "rest.id-01.braze.com"
    JP_01 = "rest.jp-01.braze.com"
    KR_01 = "rest.kr-01.braze.com"


@Parameter(name="*", group="Workspace")
@dataclass(frozen=True, kw_only=True)
class Connection:
    """The workspace and the key. A key is never an option: others could read it in the process list.

    Attributes:
        instance: The cluster the workspace is on.
        base_url: Its REST endpoint, for a cluster that has no name here; by default BRAZE_BASE_URL.
        api_key_file: A file with the API key; by default the key is BRAZE_API_KEY.
        env_file: Lines NAME=VALUE that give BRAZE_API_KEY and BRAZE_BASE_URL where the environment does not.
        sandbox: Ask an invented workspace on this machine; needs no key.
        segments: Size of the invented workspace; 250 unless given.
    """

    instance: Instance | None = None
    base_url: str | None = None
    api_key_file: Path | None = None
    env_file: Path | None = None
    sandbox: bool = False
    segments: Annotated[int | None, Parameter(validator=Number(gte=0))] = None

    @asynccontextmanager
    async def client(self, **options: Unpack[ClientOptions]) -> AsyncGenerator[BrazeSegments, None]:
        """An open client of that workspace, sandbox included; closed with the block.

        Args:
            options: the other arguments of the client.

        Raises:
            ConfigError: options that contradict each other, no key, no endpoint, or a file without them.
        """
        from braze_segments_async.client import BrazeSegments  # noqa: PLC0415 - --help needs neither

        self._check()
        async with AsyncExitStack() as stack:
            if self.sandbox:
                from braze_segments_async.sandbox import Sandbox  # noqa: PLC0415

                size = _SANDBOX_SEGMENTS if self.segments is None else self.segments
                server = await stack.enter_async_context(Sandbox(size))
                key, options["base_url"] = server.api_key, server.base_url
            else:
                key, options["base_url"] = self._key_and_url()
            yield await stack.enter_async_context(BrazeSegments(key, **options))

    def _check(self) -> None:
        if self.instance is not None and self.base_url is not None:
            raise ConfigError("--instance and --base-url say the same: leave one out")
        if not self.sandbox:
            if self.segments is not None:
                raise ConfigError("--segments is the size of the sandbox: it needs --sandbox")
            return
        for name in ("instance", "base_url", "api_key_file", "env_file"):
            if getattr(self, name) is not None:
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(f"--sandbox has its own key and endpoint: leave {option} out")

    def _key_and_url(self) -> tuple[str, str]:
        """What options say wins over the environment, and that over the file."""
        filed = {} if self.env_file is None else parse_env(_read(self.env_file), plain(str(self.env_file)))

        def named(variable: str) -> Secret:
            return Secret(os.environ.get(variable) or filed.get(variable, ""))

        key = named("BRAZE_API_KEY")
        if self.api_key_file is not None:
            key = Secret(_read(self.api_key_file).removesuffix("\n").removesuffix("\r"))
            if not key:
                raise ConfigError(f"{plain(str(self.api_key_file))} is empty: it is to hold the API key")
        url = self.base_url if self.base_url is not None else named("BRAZE_BASE_URL")
        if self.instance is not None:
            url = f"https://{self.instance.value}"
        if not key:
            raise ConfigError("no API key: set BRAZE_API_KEY, or use --api-key-file or --env-file")
        if not url and self.base_url is None:
            raise ConfigError("no REST endpoint: use --instance or --base-url, or set BRAZE_BASE_URL")
        return key, url


def parse_env(text: str, shown: str) -> dict[str, Secret]:
    """The lines `BRAZE_NAME=VALUE` of a text; `export`, quotes and comments are allowed, other lines ignored.

    Args:
        text: of the whole file.
        shown: what to call the file in a message.

    Raises:
        ConfigError: such a line is not whole. The message shows nothing of it.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if _NAMES_OURS.match(line):
            parts = _ENV_LINE.fullmatch(line)
            if parts is None:
                raise ConfigError(f"{shown}, line {number}: write it as NAME=VALUE or NAME='VALUE'")
            name, *values = parts.groups()
            found[name] = Secret(next((value for value in values if value is not None), ""))
    return found


def _read(path: Path) -> Secret:
    """A file that holds a key. Errors are raised outside of what could show it."""
    try:
        return Secret(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except ValueError:
        problem = "it is not text in UTF-8"
    raise ConfigError(f"cannot read {plain(str(path))}: {problem}")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Choices:
    """What an export writes, and how.

    Attributes:
        output: The file: .ndjson, .jsonl, .csv, .parquet, .sqlite or .db. Without it, or with -, lines go to
            standard output.
        format: Whatever the suffix.
        resume: Go on with what an interrupted export to this file left.
        overwrite: Replace the file if there is one, at the end and at once.
        allow_partial: Write although some segments could not be had; a file beside it says which.
        consistency: What to do about edits while the list is read. safe, unless given, reads each page twice;
            strict walks both ways until both agree; fast reads once.
        sizes: Add the size history of so many days. Needs the permission segments.data_series.
        csv_safe: Put an apostrophe before what a spreadsheet would take for a formula.
        quiet: No progress and no summary; errors are still told.
        verbose: Tell of each retry and pause, too.
    """

    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None
    format: Format | None = None
    resume: bool = False
    overwrite: bool = False
    allow_partial: bool = False
    consistency: Literal["safe", "strict", "fast"] = "safe"
    sizes: Annotated[int | None, Parameter(validator=Number(gte=1))] = None
    csv_safe: bool = False
    quiet: bool = False
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"])] = False

    def check_lines(self) -> None:
        """Refuse what standard output cannot be.

        Raises:
            ConfigError: an option that needs a file.
        """
        if self.format in {"parquet", "sqlite"}:
            raise ConfigError(f"{self.format} is a file of its own: name it with --output")
        for option in ("resume", "overwrite", "sizes"):
            if getattr(self, option):
                raise ConfigError(f"--{option} needs a file: name it with --output")
        if self.csv_safe and self.format != "csv":
            raise ConfigError("--csv-safe is for --format csv")
