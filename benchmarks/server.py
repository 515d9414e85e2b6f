"""A Braze that costs almost nothing: pre-rendered bytes on an `asyncio.Protocol`, in a process of its own.

It says where it answers on its first line of output, and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from email.utils import formatdate
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

from braze_segments_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

_PAGE_SIZE = 100  # GET /segments/list: "returned in groups of 100"
_LIMIT = 2_500_000  # ten times Braze's default, so that no run gets near the reserve
_BODIES = 64
_NAMES = ("Lapsed buyers", "VIP, 3+ orders", "Newsletter, opened", "EU: cart abandoned", "Trial ending")
_TAGS = ("lifecycle", "do-not-delete", "A/B, wave 2", "legal: GDPR", "loyalty", "Team Growth")
_FILTERS = (
    "Last Used App less than {} days ago",
    "Money Spent In App is more than {}",
    "Random Bucket # is less than {}",
    "Custom attribute loyalty_points is more than {}",
    "Has received email from campaign 'Spring sale {}' in the last 30 days",
)
_HEAD = (
    "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    "Cache-Control: max-age=0, private, must-revalidate\r\nVary: Origin,Accept-Encoding\r\n"
    "X-Request-Id: 5c1f0a3e-7d1b-4c55-9c1e-2b7c6f1f4d11\r\nX-Runtime: 0.021342\r\n"
    "X-RateLimit-Limit: {limit}\r\nX-RateLimit-Reset: {reset}\r\nX-RateLimit-Remaining: %d\r\n"
    "Connection: keep-alive\r\n\r\n"
)


def details_body(number: int) -> bytes:
    """About 1 KB, with the fields and the kinds of values that the live service sends."""
    filters = [_FILTERS[(number + i) % len(_FILTERS)].format(number + 7 * i) for i in range(12)]
    body = {
        "message": "success",
        "id": f"{number:024x}",
        "created_at": f"2023-{1 + number % 12:02}-11T08:14:05+00:00",
        "updated_at": f"2026-05-{1 + number % 28:02}T19:55:53+00:00",
        "name": f"{_NAMES[number % len(_NAMES)]} #{number}",
        "description": " AND ".join(filters),
        "text_description": "Ask the CRM team before changing this one." if number % 4 == 0 else "",
        "tags": [_TAGS[(number + i) % len(_TAGS)] for i in range(number % 4)],
        "teams": ["CRM Berlin"] if number % 6 == 0 else [],
        "estimated_size": 137 * number,
        "estimated_size_updated_at": f"2026-07-{1 + number % 28:02}T08:40:39+00:00",
    }
    return json.dumps(body, separators=(",", ":")).encode()


def list_body(first: int, last: int) -> bytes:
    """The page of the segments from `first` up to, but without, `last`."""
    rows = [
        {
            "id": str(uuid5(NAMESPACE_URL, str(number))),
            "name": f"{_NAMES[number % len(_NAMES)]} #{number}",
            "analytics_tracking_enabled": number % 4 != 0,
            "tags": [_TAGS[(number + i) % len(_TAGS)] for i in range(number % 4)],
        }
        for number in range(first, last)
    ]
    return json.dumps({"message": "success", "segments": rows}, separators=(",", ":")).encode()


class Replies:
    """Everything the server can say; only `Date` and what remains of the allowance change."""

    def __init__(self, segments: int) -> None:
        self._pages = [
            list_body(first, min(first + _PAGE_SIZE, segments))
            for first in range(0, segments + 1, _PAGE_SIZE)
        ]
        self._details = [details_body(number) for number in range(_BODIES)]
        self._answered = 0
        self._second = 0
        self._head = b""

    def to(self, target: bytes) -> bytes:
        """The whole reply to a request for `target`, the path with the query."""
        if target.startswith(b"/segments/details"):
            body = self._details[self._answered % _BODIES]
        else:
            body = self._pages[int(target.partition(b"page=")[2].partition(b"&")[0])]
        self._answered += 1
        now = int(time.time())
        if now != self._second:
            self._second = now
            reset = now - now % 3600 + 3600
            head = _HEAD.format(date=formatdate(now, usegmt=True), limit=_LIMIT, reset=reset)
            self._head = head.encode()
        return self._head % (len(body), _LIMIT - self._answered) + body


class Connection(asyncio.Protocol):
    """One kept-alive connection: GET requests without a body, one after another."""

    def __init__(self, replies: Replies, latency: float) -> None:
        self._replies = replies
        self._latency = latency
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a TCP server
        self._write: Callable[[bytes], None] = transport.write
        if self._latency:
            loop, latency = asyncio.get_running_loop(), self._latency
            self._write = lambda reply: void(loop.call_later(latency, transport.write, reply))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        *requests, self._received = (self._received + data).split(b"\r\n\r\n")
        for request in requests:
            self._write(self._replies.to(request.split(b" ", 2)[1]))


def void(_: object) -> None:
    """Drop a result."""


async def serve(segments: int, latency: float, *, sandbox: bool) -> None:
    """Answer until standard input ends."""
    loop = asyncio.get_running_loop()
    if sandbox:
        async with Sandbox(segments, latency=latency, rate_limit=(_LIMIT, 3600.0)) as braze:
            print(braze.base_url, flush=True)
            await loop.run_in_executor(None, sys.stdin.read)
        return
    replies = Replies(segments)
    server = await loop.create_server(lambda: Connection(replies, latency), "127.0.0.1", 0, backlog=1024)
    print("http://127.0.0.1:{1}".format(*server.sockets[0].getsockname()), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=3_000)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--sandbox", action="store_true", help="the package's own sandbox instead")
    options = parser.parse_args()
    asyncio.run(serve(options.segments, options.latency, sandbox=options.sandbox))
