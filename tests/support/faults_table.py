"""The table of faults of the service and the network: each fault, its variants and the expected result."""

from __future__ import annotations

from typing import Any

from fault_client import Row
from faults_bodies import BODIES, CAP
from faults_statuses import LIMITS, STATUSES
from raw_server import Exchange, Fault, answer, gzipped, head, send_slowly, send_then

from braze_segments_async import Limits, RetryPolicy, TimedOutError, TransportError

__all__ = ["CAP", "ROWS"]

_SHORT: dict[str, Any] = {"timeout": 0.25, "retry": RetryPolicy(backoff=0.0, attempts=2)}
_SILENT: dict[str, Any] = {"limits": Limits(read_timeout=0.25), "retry": RetryPolicy(backoff=0.0, attempts=2)}
_LATE = {
    "drip": send_slowly(0.01),
    "stall in the head": send_then(b"HTTP/1.1 200 OK\r\nContent-", Exchange.wait_until_closed),
    "stall in the body": send_then(
        head(headers={"Content-Length": "100"}) + b'{"mes', Exchange.wait_until_closed
    ),
    "no answer": send_then(b"", Exchange.wait_until_closed),
}
_BODY = head(headers={"Content-Length": "100"}) + b'{"message": "suc'
_CHUNK = head(headers={"Transfer-Encoding": "chunked"}) + b'10\r\n{"message": "succe\r\n'
_CUT: dict[str, tuple[Fault, int]] = {
    "reset before the answer": (send_then(b"", Exchange.reset), 10),
    "close before the answer": (send_then(b"", Exchange.close), 10),
    "reset in the head": (send_then(b"HTTP/1.1 200 OK\r\nContent-", Exchange.reset), 10),
    "cut in the head": (send_then(b"HTTP/1.1 200 OK\r\nContent-", Exchange.close), 10),
    "reset in the body": (send_then(_BODY, Exchange.reset), 5),
    "cut in the body": (send_then(_BODY, Exchange.close), 5),
    "cut between chunks": (send_then(_CHUNK, Exchange.close), 5),
    "cut in the body, but JSON": (
        send_then(head(headers={"Content-Length": "100"}) + b"{}", Exchange.close),
        5,
    ),
    "gzip cut short, with its length": (gzipped(cut=-9), 5),
    "gzip cut to nothing": (gzipped(cut=3), 5),
    "garbage": (send_then(b"\x00\x01SSH-2.0-OpenSSH\r\n\r\n", Exchange.close), 5),
    "another protocol": (send_then(b"* OK IMAP4 ready\r\n\r\n", Exchange.close), 5),
    "an oversized header": (answer(headers={"X-Long": "x" * 100_000}), 5),
    "a chunk without size": (
        send_then(head(headers={"Transfer-Encoding": "chunked"}) + b"zz\r\n", Exchange.close),
        5,
    ),
}
_CONNECTION = "reset, close, cut before or in the body"
NETWORK = [
    *(
        Row(
            fault="drip, stall, no answer",
            variant=f"{variant}, once",
            respond=respond,
            times=1,
            requests=2,
            options={"timeout": 0.5},
        )
        for variant, respond in _LATE.items()
        if variant in {"drip", "no answer"}
    ),
    *(
        Row(
            fault="drip, stall, no answer",
            variant=f"{variant}, for ever",
            respond=respond,
            error=TimedOutError,
            requests=2,
            message_contains="within 0.25 s",
            options=_SHORT,
        )
        for variant, respond in _LATE.items()
    ),
    Row(
        fault="drip, stall, no answer",
        variant="silence, for ever",
        respond=_LATE["stall in the body"],
        error=TimedOutError,
        requests=2,
        message_contains="0.25 s without data",
        options=_SILENT,
    ),
    *(
        Row(fault=_CONNECTION, variant=f"{variant}, once", respond=respond, times=1, requests=2)
        for variant, (respond, _) in _CUT.items()
    ),
    *(
        Row(
            fault=_CONNECTION,
            variant=f"{variant}, for ever",
            respond=respond,
            error=TransportError,
            requests=seen,
            attempts=5,
            message_contains="after 5 attempts",
        )
        for variant, (respond, seen) in _CUT.items()
    ),
]

ROWS = [*LIMITS, *STATUSES, *BODIES, *NETWORK]
