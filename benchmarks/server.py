"""A Braze that costs almost nothing: pre-rendered bytes on an `asyncio.Protocol`, in a process of its own.

It says where it answers on its first line of output, and ends when its standard input does. What it was asked
for so far, it tells at `/stats`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import selectors
import sys
import time
from email.utils import formatdate
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

if TYPE_CHECKING:
    from collections.abc import Callable

_PAGE_SIZE = 100  # GET /segments/list: "returned in groups of 100"
_PLENTY = "25000000:3600"  # a hundred times Braze's default, so that no run gets near the reserve
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
    "HTTP/1.1 %b\r\nDate: {date}\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    "Cache-Control: max-age=0, private, must-revalidate\r\nVary: Origin,Accept-Encoding\r\n"
    "X-Request-Id: 5c1f0a3e-7d1b-4c55-9c1e-2b7c6f1f4d11\r\nX-Runtime: 0.021342\r\n"
    "X-RateLimit-Limit: {limit}\r\nX-RateLimit-Reset: {reset}\r\nX-RateLimit-Remaining: %d\r\n"
    "Connection: keep-alive\r\n\r\n"
)
_OK = b"200 OK"
_REFUSED = b"429 Too Many Requests"
_REFUSAL = b'{"message":"You have exceeded your rate limit"}'


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


class Allowance:
    """So many requests a window, for all who ask; windows begin and end with the clock, as Braze's do."""

    def __init__(self, limit: int, seconds: int) -> None:
        self.limit = limit
        self._seconds = seconds
        self.resets_at = 0
        self.left = limit

    def take(self, now: int) -> bool:
        """Count one request; whether it was still allowed."""
        if now >= self.resets_at:
            self.resets_at = now - now % self._seconds + self._seconds
            self.left = self.limit
        if not self.left:
            return False
        self.left -= 1
        return True


class Replies:
    """Everything the server can say; only `Date` and the state of the allowance change."""

    def __init__(self, segments: int, allowance: Allowance) -> None:
        self._pages = [
            list_body(first, min(first + _PAGE_SIZE, segments))
            for first in range(0, segments + 1, _PAGE_SIZE)
        ]
        self._beyond = list_body(0, 0)
        self._details = [details_body(number) for number in range(_BODIES)]
        self._allowance = allowance
        self._second = 0
        self._head = b""
        self.counts = {"list": 0, "details": 0, "refused": 0}

    def to(self, target: bytes) -> bytes:
        """The whole reply to a request for `target`, the path with the query."""
        now = int(time.time())
        if target == b"/stats":
            body = json.dumps(self.counts).encode()
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        allowed = self._allowance.take(now)
        status = _OK if allowed else _REFUSED
        body = self._body(target) if allowed else self._refuse()
        if now != self._second:
            self._second = now
            head = _HEAD.format(
                date=formatdate(now, usegmt=True),
                limit=self._allowance.limit,
                reset=self._allowance.resets_at,
            )
            self._head = head.encode()
        return self._head % (status, len(body), self._allowance.left) + body

    def _body(self, target: bytes) -> bytes:
        if target.startswith(b"/segments/details"):
            self.counts["details"] += 1
            return self._details[self.counts["details"] % _BODIES]
        self.counts["list"] += 1
        number = int(target.partition(b"page=")[2].partition(b"&")[0])
        return self._pages[number] if number < len(self._pages) else self._beyond

    def _refuse(self) -> bytes:
        self.counts["refused"] += 1
        return _REFUSAL


class Connection(asyncio.Protocol):
    """One kept-alive connection: GET requests without a body, one after another."""

    def __init__(self, replies: Replies, latency: float) -> None:
        self._replies = replies
        self._latency = latency
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a TCP server
        self._transport = transport
        self._send: Callable[[bytes], object] = transport.write
        if self._latency:
            loop = asyncio.get_running_loop()
            self._send = lambda reply: loop.call_later(self._latency, self._send_late, reply)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        *requests, self._received = (self._received + data).split(b"\r\n\r\n")
        for request in requests:
            self._send(self._replies.to(request.split(b" ", 2)[1]))

    def _send_late(self, reply: bytes) -> None:
        if not self._transport.is_closing():  # as it is when the client has given up waiting
            self._transport.write(reply)


async def serve(segments: int, latency: float, limit: int, seconds: int) -> None:
    """Answer until standard input ends."""
    loop = asyncio.get_running_loop()
    replies = Replies(segments, Allowance(limit, seconds))
    server = await loop.create_server(lambda: Connection(replies, latency), "127.0.0.1", 0, backlog=1024)
    print("http://127.0.0.1:{1}".format(*server.sockets[0].getsockname()), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


async def serve_sandbox(segments: int, latency: float, limit: int, seconds: int) -> None:
    """The same with the package's own sandbox, which is slower and checks what it is asked."""
    from braze_segments_async.sandbox import Sandbox  # noqa: PLC0415 - the other server does without

    async with Sandbox(segments, latency=latency, rate_limit=(limit, float(seconds))) as braze:
        print(braze.base_url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


class _Punctual(selectors.DefaultSelector):
    """Wakes when it is told to, and not up to two milliseconds later: the system rounds up to whole ones.

    What is left of the last one it asks again and again. That takes the server's core, not the client's.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors.BaseSelector`."""
        return super().select(timeout and max(0.0, timeout - 0.001))


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=3_000)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--rate-limit", default=_PLENTY, metavar="N:SECONDS", help="requests a window")
    parser.add_argument("--sandbox", action="store_true", help="the package's own sandbox instead")
    options = parser.parse_args()
    limit, seconds = map(int, options.rate_limit.split(":"))
    serving = serve_sandbox if options.sandbox else serve
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_Punctual())) as runner:
        runner.run(serving(options.segments, options.latency, limit, seconds))


if __name__ == "__main__":
    main()
