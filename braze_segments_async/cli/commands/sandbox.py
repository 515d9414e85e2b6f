"""`braze-segments sandbox`: an invented workspace on this machine."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlencode

from braze_segments_async._text import escape_control
from braze_segments_async.cli.progress import print_err
from braze_segments_async.cli.runner import run, usage_error
from braze_segments_async.sandbox import Answer, Endpoint, LoggedRequest, Sandbox

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["run_sandbox"]

_PERMISSIONS = ("segments.list", "segments.details", "segments.data_series", "users.export.segment")
_ENDPOINTS = [endpoint for endpoint in get_args(Endpoint) if endpoint != "other"]
_FAULT = re.compile(
    r"(?:(?P<status>[2-5][0-9]{2})|(?P<delay>[0-9]+(?:\.[0-9]+)?)s)"
    r"(?:@(?P<endpoint>[a-z_]+))?"
    r"(?::(?:(?P<first>[0-9]{1,9})(?:-(?P<last>[0-9]{1,9}))?|(?P<share>[0-9]{1,3})%))?"
)
_RATE_LIMIT = re.compile(r"([0-9]{1,9})/([0-9]+(?:\.[0-9]+)?)s")


class _OptionError(Exception):
    """A value of an option that cannot be read."""


def run_sandbox(
    *,
    faults: Sequence[str],
    rate_limit: str | None,
    permissions: str | None,
    log: bool,
    **arguments: Any,
) -> int:
    """Serve until Ctrl-C; return the exit code.

    Args:
        faults: Values of `--fault`.
        rate_limit: Value of `--rate-limit`.
        permissions: Value of `--permissions`.
        log: Whether to print each request.
        **arguments: Other arguments of `Sandbox`.
    """
    try:
        sandbox = Sandbox(
            rate_limit=None if rate_limit is None else _parse_rate_limit(rate_limit),
            permissions=_PERMISSIONS if permissions is None else _parse_permissions(permissions),
            on_response=_print_request if log else None,
            **arguments,
        )
        for fault in reversed(faults):  # so that the first of them has priority
            answer, rule = _parse_fault(fault)
            sandbox.inject(answer, **rule)
    except _OptionError as error:
        return usage_error(escape_control(str(error)))
    return run(_serve(sandbox))


async def _serve(server: Sandbox) -> None:
    async with server as sandbox:
        key = shlex.quote(sandbox.api_key)
        sys.stdout.write(
            f"A sandbox of {len(sandbox.segment_ids):,} segments at {sandbox.base_url}, with the key {key}\n"
            "Ctrl-C stops it. To use it from another shell:\n\n"
            f"export BRAZE_BASE_URL={sandbox.base_url}\n"
            f"export BRAZE_API_KEY={key}\n"
        )
        sys.stdout.flush()
        await asyncio.Event().wait()


def _parse_rate_limit(text: str) -> tuple[int, float]:
    found = _RATE_LIMIT.fullmatch(text)
    if found is None or not float(found[2]):
        raise _OptionError(f"--rate-limit {text}: write requests and seconds, for example 500/2s")
    return int(found[1]), float(found[2])


def _parse_permissions(text: str) -> list[str]:
    names = [name for name in re.split(r"[\s,]+", text) if name]
    if unknown := [name for name in names if name not in _PERMISSIONS]:
        raise _OptionError(
            f"--permissions: {unknown[0]} is not a permission of the sandbox; "
            f"it has {', '.join(_PERMISSIONS)}"
        )
    return names


def _parse_fault(text: str) -> tuple[Answer, dict[str, Any]]:
    """Return an answer, and the arguments of `Sandbox.inject` for it."""
    found = _FAULT.fullmatch(text)
    if found is None or int(found["status"] or 200) not in set(HTTPStatus):
        raise _OptionError(
            f"--fault {text}: write a status or seconds, then an endpoint and which of its requests, "
            "if not all: 503, 503@list, 503@list:3, 503@list:3-5, 503@details:10% or 2.5s@details"
        )
    endpoint, share = found["endpoint"], found["share"]
    if endpoint is not None and endpoint not in _ENDPOINTS:
        raise _OptionError(f"--fault {text}: the endpoint must be one of {', '.join(_ENDPOINTS)}")
    rule: dict[str, Any] = {"endpoint": endpoint}
    if found["first"] is not None:
        rule["ordinals"] = range(int(found["first"]), int(found["last"] or found["first"]) + 1)
    if share is not None:
        rule["chance"] = int(share) / 100
    return Answer(status=int(found["status"] or 200), delay=float(found["delay"] or 0)), rule


def _print_request(request: LoggedRequest) -> None:
    """Print the time, status, method and path of a request, but not its key."""
    query = f"?{urlencode(request.query)}" if request.query else ""
    if request.endpoint == "file":
        query = ""  # it has the signature of the file
    line = f"{time.strftime('%H:%M:%S')} {request.status} {request.method} {request.path}{query}"
    print_err(escape_control(line))
