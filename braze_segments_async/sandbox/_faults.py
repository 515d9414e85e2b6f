"""What tests say and see of a sandbox: the answers it is told to give, and the requests it was sent."""

import json
import random
from collections.abc import Callable, Collection, Mapping
from email.utils import formatdate
from http import HTTPStatus
from math import ceil
from typing import Any, Literal, Self

import attrs

Endpoint = Literal["list", "details", "data_series", "users", "cancel", "file", "other"]
"""What a request is for: `GET /segments/...` by the last part of the path, `POST /users/export/segment`
(`"users"`) and `/export/segment/cancel`, any request to the host of the exported files, and all the rest."""


@attrs.frozen
class Answer:
    """One HTTP answer of the sandbox.

    Attributes:
        status: HTTP status.
        body: `dict` and `list` become JSON; `str` (as UTF-8) and `bytes` are sent verbatim. `None` is the
            genuine answer when the status is 200, so that `Answer(delay=5)` is genuine but late, and
            otherwise a body such as Braze sends with that status.
        headers: Sent in place of those the sandbox would send, rate-limit headers and `Date` among them; a
            value of `None` leaves a header out. With a `Content-Length` of more than the body the connection
            is closed where the body ends.
        delay: Seconds to wait before answering, on top of the sandbox's latency.
        content_type: Sent as it is.
    """

    status: int = 200
    body: bytes | str | dict[str, Any] | list[Any] | None = None
    headers: Mapping[str, str | None] = attrs.field(factory=dict)
    delay: float = 0.0
    content_type: str = "application/json"

    def encoded(self) -> bytes:
        """Return the bytes of the body: compact JSON in UTF-8, unless they are given."""
        if isinstance(self.body, bytes):
            return self.body
        if isinstance(self.body, str):
            return self.body.encode()
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":")).encode()


@attrs.frozen
class LoggedRequest:
    """One request as it arrived.

    Attributes:
        endpoint: Which endpoint it was for.
        ordinal: Its place among the requests of that endpoint, from 1, in order of arrival.
        method: In capitals.
        path: As it was sent, without the query.
        query: The decoded parameters.
        headers: What the client sent, its Authorization among them; names in any letter case.
        status: What it was answered with; 0 while it is unanswered, and for good when the client went away.
        at: When it arrived, in seconds of `time.monotonic()`.
        body: What it brought as `application/json`, decoded; `None` if that was nothing, or no JSON.
    """

    endpoint: Endpoint
    ordinal: int
    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str] = attrs.field(repr=False)
    status: int
    at: float
    body: Any = None

    @property
    def key(self) -> str:
        """The API key it came with, `""` without one."""
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def is_about(self, segment_id: str) -> bool:
        """Tell whether it names a segment, in its parameters, its body or the path of an exported file."""
        parameters = self.body if isinstance(self.body, dict) else self.query
        return parameters.get("segment_id") == segment_id or segment_id in self.path.split("/")


Hook = Callable[[LoggedRequest], Answer | None]
"""Called when a request arrives; `None` lets the genuine answer through."""


@attrs.define
class Rule:
    """Which requests get an injected answer; a filter that is `None` lets every request through."""

    answer: Answer | Hook
    endpoint: Endpoint | None
    ordinals: int | Collection[int] | None
    segment_id: str | None
    page: int | None
    times: int | None
    chance: float | None
    random: random.Random

    def applies(self, request: LoggedRequest) -> bool:
        """Decide on a request, and use up one of `times` if it matches; dice fall only when all else does."""
        ordinals = (self.ordinals,) if isinstance(self.ordinals, int) else self.ordinals
        matches = (
            self.times != 0
            and self.endpoint in {None, request.endpoint}
            and (ordinals is None or request.ordinal in ordinals)
            and (self.segment_id is None or request.is_about(self.segment_id))
            and (
                self.page is None
                or (request.endpoint == "list" and request.query.get("page", "0") == str(self.page))
            )
            and (self.chance is None or self.random.random() < self.chance)
        )
        if matches and self.times is not None:
            self.times -= 1
        return matches

    def answer_to(self, request: LoggedRequest) -> Answer | None:
        """Return the injected answer, or `None` for the genuine one."""
        return self.answer if isinstance(self.answer, Answer) else self.answer(request)


@attrs.define
class RateWindow:
    """A fixed window aligned to the clock, as Braze's hourly one is.

    Attributes:
        limit: Requests granted in one window.
        seconds: Length of a window.
        clock: Seconds since the epoch.
        granted: How many were granted in each window that was used, in order.
    """

    limit: int
    seconds: float
    clock: Callable[[], float]
    granted: list[int] = attrs.field(factory=list, init=False)
    _start: float | None = attrs.field(default=None, init=False)

    def take(self) -> bool:
        """Grant one request, or refuse it because the window is used up."""
        start = self.clock() // self.seconds * self.seconds
        if start != self._start:
            self._start = start
            self.granted.append(0)
        if self.granted[-1] >= self.limit:
            return False
        self.granted[-1] += 1
        return True

    def headers(self, status: int) -> dict[str, str]:
        """Return `Date` and the rate-limit headers, which on a 401 are there but empty."""
        now = self.clock()
        start = now // self.seconds * self.seconds
        used = self.granted[-1] if start == self._start else 0
        values = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.limit - used),
            "X-RateLimit-Reset": str(ceil(start + self.seconds)),
        }
        if status == HTTPStatus.UNAUTHORIZED:
            values = dict.fromkeys(values, "")
        return {"Date": formatdate(now, usegmt=True), **values}


@attrs.define
class Gauge:
    """Counts what is under way inside its `with` blocks, and remembers the most."""

    now: int = 0
    peak: int = 0

    def __enter__(self) -> Self:
        self.now += 1
        self.peak = max(self.peak, self.now)
        return self

    def __exit__(self, *_: object) -> None:
        self.now -= 1


def error_body(status: int, key: str) -> dict[str, Any]:
    """Return a body such as Braze sends with `status`; like the live service, a 401 echoes the key."""
    messages = {
        202: "queued",
        401: f"Invalid API key: {key}",
        403: "The API key does not have the permission for this endpoint",
        404: "Invalid URL",
        429: "Rate limit exceeded",
    }
    return {"message": messages.get(status) or HTTPStatus(status).phrase}
