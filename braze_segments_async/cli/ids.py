"""Segments by id or name, from arguments or from standard input, and one request for each of them."""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from attrs import frozen
from cyclopts import App, Parameter

from braze_segments_async._arguments import check_segment_id
from braze_segments_async._fan_out import FanOut
from braze_segments_async._text import escape_control
from braze_segments_async.errors import (
    BadRequestError,
    BrazeError,
    ConfigError,
    NotFoundError,
    PermissionDeniedError,
    ReplyError,
    ServerError,
)

from .connection import client_with_pause_notices
from .progress import print_err
from .runner import OPTIONS, PARTIAL, run, usage_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator

    from braze_segments_async._client import BrazeSegments

    from .arguments import Connection

__all__ = ["Ids", "fetch_each", "parse_lines", "run_for_ids", "standard_input"]

T = TypeVar("T")

# A single hyphen stands for standard input; `_parse_arguments` refuses all others that begin with one.
Ids = Annotated[str, Parameter(allow_leading_hyphen=True, show_default=False)]
_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")  # the form of all ids seen so far
# Errors about one segment: the other segments are fetched all the same.
_SEGMENT_ERRORS = (BadRequestError, NotFoundError, ReplyError, ServerError)


@frozen
class Given:
    """A segment that an argument or a line of standard input names.

    Attributes:
        text: The id or the name.
        name: The name, if `text` is known to be an id; may be `None`.
        is_id: Whether `text` is an id for certain.
    """

    text: str
    name: str | None = None
    is_id: bool = False


def run_for_ids(
    command: Callable[..., int],
    arguments: tuple[str, ...],
    connection: Connection,
    max_wait: float,
    work: Callable[[BrazeSegments, dict[str, str | None]], Coroutine[Any, Any, int]],
) -> int:
    """Run `work` for the segments that the arguments name, and return the exit code.

    Args:
        command: The function of the command.
        arguments: Ids and names; `-` stands for those on standard input.
        connection: The workspace.
        max_wait: Maximum seconds to wait for the rate limit.
        work: Takes the client and the names of the segments by id; a name is `None` if it is not known.
    """
    try:
        # Before the event loop starts, which would keep Ctrl-C from a read that waits.
        given = _parse_arguments(command, arguments)
    except ConfigError as error:
        return usage_error(error.message(OPTIONS))

    async def resolve_and_work() -> int:
        async with client_with_pause_notices(connection, max_wait) as client:
            return await work(client, await _resolve(client, given))

    return run(resolve_and_work())


async def fetch_each(
    client: BrazeSegments,
    ids: Iterable[str],
    fetch: Callable[[str], Awaitable[T]],
    show: Callable[[str, T], Awaitable[None]],
) -> int:
    """Fetch something for each id, show the values in the order of the ids, and print the errors.

    Returns:
        The exit code.
    """

    async def attempt(segment_id: str) -> tuple[str, T | BrazeError]:
        try:
            return segment_id, await fetch(segment_id)
        except _SEGMENT_ERRORS as error:
            return segment_id, error

    shown = failed = 0
    async with FanOut(ids, attempt, concurrency=client.concurrency, ordered=True) as stream:
        async for segment_id, value in stream:
            if isinstance(value, BrazeError):
                print_err(f"braze-segments: {value}")
                failed += 1
            else:
                await show(segment_id, value)
                shown += 1
    return 0 if not failed else PARTIAL if shown else 1


async def _resolve(client: BrazeSegments, given: list[Given]) -> dict[str, str | None]:
    """Return the names of the segments by id, in the order of the arguments.

    The list is read only if an argument does not have the form of an id. A name stands for all segments that
    have it. What is no name in the list is sent as an id.
    """
    names: dict[str, str] = {}
    if not all(one.is_id for one in given):
        with suppress(PermissionDeniedError):  # of segments.list: ids need no list
            names = {segment.id: segment.name async for segment in client.list()}
    found: dict[str, str | None] = {}
    for one in given:
        named = [] if one.is_id or one.text in names else _ids_of(one.text, names)
        for segment_id in named or [one.text]:
            found.setdefault(segment_id, names.get(segment_id, one.name))
    return found


def _ids_of(name: str, names: dict[str, str]) -> list[str]:
    """Return the ids of the segments with this name, in any letter case; if none, print a similar name."""
    wanted = name.casefold()
    ids = [segment_id for segment_id, its_name in names.items() if its_name.casefold() == wanted]
    if not ids and (similar := get_close_matches(name, names.values(), n=1)):
        print_err(f'braze-segments: no segment is named "{name}". Did you mean "{similar[0]}"?')
    return ids


def _parse_arguments(command: Callable[..., int], arguments: tuple[str, ...]) -> list[Given]:
    """Return what the arguments name; `-` stands for the lines on standard input.

    Raises:
        ConfigError: There are no arguments, one is blank or an unknown option, or a line is not an id.
    """
    if not arguments:
        raise ConfigError("give at least one id or name, or - to read them from standard input")
    given: list[Given] = []
    for argument in arguments:
        if argument == "-":
            given += parse_lines(standard_input())
        elif argument.startswith("-"):  # the text after an equals sign may be a key
            raise _unknown_option(command, argument.partition("=")[0])
        else:
            given.append(_given(check_segment_id(argument)))
    return given


def _given(text: str) -> Given:
    return Given(text, is_id=bool(_ID.fullmatch(text)))


def _unknown_option(command: Callable[..., int], option: str) -> ConfigError:
    options = [
        name for one in App(default_command=command).assemble_argument_collection() for name in one.names
    ]
    similar = get_close_matches(option, options, n=1)
    hint = f" Did you mean {similar[0]}?" if similar else " Pass an id that begins with a hyphen with -."
    return ConfigError(f"unknown option: {escape_control(option)}.{hint}")


def standard_input() -> Iterable[bytes]:
    """Return the lines of standard input.

    Raises:
        ConfigError: The caller closed it.
    """
    if sys.stdin is None:
        raise ConfigError("standard input is closed")
    return sys.stdin.buffer


def parse_lines(lines: Iterable[bytes]) -> Iterator[Given]:
    """Yield what each line names: the line itself or, in the output of `list`, the `id` of a JSON object.

    Raises:
        ConfigError: A line is neither.
    """
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if not line:
            continue
        try:
            row = json.loads(line) if line.startswith(b"{") else None
            text = line.decode() if row is None else row["id"]
        except (ValueError, KeyError, RecursionError):
            text = None
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"standard input, line {number}: expected an id or a JSON object with an id")
        name = None if row is None else row.get("name")
        yield (
            _given(text) if row is None else Given(text, name if isinstance(name, str) else None, is_id=True)
        )
