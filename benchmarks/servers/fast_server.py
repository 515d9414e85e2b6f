"""A fast fake Braze: pre-rendered responses on an `asyncio.Protocol`.

Prints its address as the first line of output, and exits when standard input is closed. `/stats` returns the
number of requests so far.
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
    """Return about 1 KB of JSON with the fields and types of values of Braze's API."""
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
    """Return a page of the list with the segments from `first` to `last`, `last` excluded."""
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


class RateLimitWindow:
    """A rate limit for all clients together; windows are aligned to the clock, as Braze's are."""

    def __init__(self, limit: int, seconds: int) -> None:
        self.limit = limit
        self._seconds = seconds
        self.resets_at = 0
        self.remaining = limit

    def take(self, now: int) -> bool:
        """Count one request, and return whether it is allowed."""
        if now >= self.resets_at:
            self.resets_at = now - now % self._seconds + self._seconds
            self.remaining = self.limit
        if not self.remaining:
            return False
        self.remaining -= 1
        return True


class Responses:
    """All responses of the server; only `Date` and the rate-limit headers change."""

    def __init__(self, segments: int, window: RateLimitWindow) -> None:
        self._pages = [
            list_body(first, min(first + _PAGE_SIZE, segments))
            for first in range(0, segments + 1, _PAGE_SIZE)
        ]
        self._beyond = list_body(0, 0)
        self._details = [details_body(number) for number in range(_BODIES)]
        self._window = window
        self._second = 0
        self._head = b""
        self.counts = {"list": 0, "details": 0, "refused": 0}

    def to(self, target: bytes) -> bytes:
        """Return the response to a request for `target`, the path with the query."""
        now = int(time.time())
        if target == b"/stats":
            body = json.dumps(self.counts).encode()
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        allowed = self._window.take(now)
        status = _OK if allowed else _REFUSED
        body = self._body(target) if allowed else self._refuse()
        if now != self._second:
            self._second = now
            head = _HEAD.format(
                date=formatdate(now, usegmt=True),
                limit=self._window.limit,
                reset=self._window.resets_at,
            )
            self._head = head.encode()
        return self._head % (status, len(body), self._window.remaining) + body

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
    """A keep-alive connection that serves GET requests without a body."""

    def __init__(self, responses: Responses, latency: float) -> None:
        self._responses = responses
        self._latency = latency
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Prepare to send responses."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a TCP server
        self._transport = transport
        self._send: Callable[[bytes], object] = transport.write
        if self._latency:
            loop = asyncio.get_running_loop()
            self._send = lambda response: loop.call_later(self._latency, self._send_late, response)

    def data_received(self, data: bytes) -> None:
        """Answer every complete request."""
        *requests, self._received = (self._received + data).split(b"\r\n\r\n")
        for request in requests:
            self._send(self._responses.to(request.split(b" ", 2)[1]))

    def _send_late(self, response: bytes) -> None:
        if not self._transport.is_closing():  # after a timeout of the client
            self._transport.write(response)


async def serve(segments: int, latency: float, limit: int, seconds: int) -> None:
    """Serve until standard input is closed."""
    loop = asyncio.get_running_loop()
    responses = Responses(segments, RateLimitWindow(limit, seconds))
    server = await loop.create_server(lambda: Connection(responses, latency), "127.0.0.1", 0, backlog=1024)
    print("http://127.0.0.1:{1}".format(*server.sockets[0].getsockname()), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


async def serve_sandbox(segments: int, latency: float, limit: int, seconds: int) -> None:
    """Serve with the package's sandbox, which is slower and checks requests."""
    from braze_segments_async.sandbox import Sandbox  # noqa: PLC0415 - the fast server does not need it

    async with Sandbox(segments, latency=latency, rate_limit=(limit, float(seconds))) as braze:
        print(braze.base_url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


class _PreciseSelector(selectors.DefaultSelector):
    """A selector without the rounding of timeouts to whole milliseconds.

    It polls during the last millisecond, which costs CPU time of the server, not of the client.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait up to one millisecond less than the timeout."""
        return super().select(timeout and max(0.0, timeout - 0.001))


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=3_000)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each response")
    parser.add_argument("--rate-limit", default=_PLENTY, metavar="N:SECONDS", help="requests per window")
    parser.add_argument("--sandbox", action="store_true", help="the package's own sandbox instead")
    options = parser.parse_args()
    limit, seconds = map(int, options.rate_limit.split(":"))
    serving = serve_sandbox if options.sandbox else serve
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_PreciseSelector())) as runner:
        runner.run(serving(options.segments, options.latency, limit, seconds))


if __name__ == "__main__":
    main()
