"""Segment ids, from arguments or from standard input, and one request for each of them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter

from braze_segments_async._arguments import check_segment_id
from braze_segments_async._fan_out import FanOut
from braze_segments_async._text import escape_control
from braze_segments_async.errors import (
    BadRequestError,
    BrazeError,
    ConfigError,
    NotFoundError,
    ReplyError,
    ServerError,
)

from .progress import print_err
from .runner import OPTIONS, PARTIAL, run, usage_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator

    from braze_segments_async._client import BrazeSegments

__all__ = ["Ids", "fetch_each", "parse_ids", "run_for_ids", "standard_input"]

T = TypeVar("T")

# A single hyphen stands for standard input; `_ids_from` refuses all other ids that begin with a hyphen.
Ids = Annotated[str, Parameter(allow_leading_hyphen=True, show_default=False)]
# Errors about one segment: the other segments are fetched all the same.
_SEGMENT_ERRORS = (BadRequestError, NotFoundError, ReplyError, ServerError)


def run_for_ids(arguments: tuple[str, ...], work: Callable[[list[str]], Coroutine[Any, Any, int]]) -> int:
    """Run `work` with the ids that the arguments name, and return the exit code."""
    try:
        # Before the event loop starts, which would keep Ctrl-C from a read that waits.
        ids = _ids_from(arguments)
    except ConfigError as error:
        return usage_error(error.message(OPTIONS))
    return run(work(ids))


async def fetch_each(
    client: BrazeSegments,
    ids: list[str],
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
    async with FanOut(dict.fromkeys(ids), attempt, concurrency=client.concurrency, ordered=True) as stream:
        async for segment_id, value in stream:
            if isinstance(value, BrazeError):
                print_err(f"braze-segments: {value}")
                failed += 1
            else:
                await show(segment_id, value)
                shown += 1
    return 0 if not failed else PARTIAL if shown else 1


def _ids_from(arguments: tuple[str, ...]) -> list[str]:
    """Return the ids that the arguments name; `-` stands for those on standard input.

    Raises:
        ConfigError: There are no arguments, one is blank or an unknown option, or a line is not an id.
    """
    if not arguments:
        raise ConfigError("give at least one id, or - to read ids from standard input")
    ids: list[str] = []
    for argument in arguments:
        if argument == "-":
            ids += parse_ids(standard_input())
        elif argument.startswith("-"):  # the text after an equals sign may be a key
            option = argument.partition("=")[0]
            raise ConfigError(
                f"unknown option {escape_control(option)} (pass ids that begin with a hyphen with -)"
            )
        else:
            ids.append(check_segment_id(argument))
    return ids


def standard_input() -> Iterable[bytes]:
    """Return the lines of standard input.

    Raises:
        ConfigError: The caller closed it.
    """
    if sys.stdin is None:
        raise ConfigError("standard input is closed")
    return sys.stdin.buffer


def parse_ids(lines: Iterable[bytes]) -> Iterator[str]:
    """Yield the id of each line: the line itself or, in the output of `list`, the `id` of a JSON object.

    Raises:
        ConfigError: A line is neither.
    """
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if not line:
            continue
        try:
            found = json.loads(line)["id"] if line.startswith(b"{") else line.decode()
        except (ValueError, KeyError, RecursionError):
            found = None
        if not isinstance(found, str) or not found.strip():
            raise ConfigError(f"standard input, line {number}: expected an id or a JSON object with an id")
        yield found
