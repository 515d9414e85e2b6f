"""Logged requests, injected answers, and the rules that match one to the other."""

import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Final, Literal

import attrs
from aiohttp import web
from multidict import CIMultiDict

Endpoint = Literal["list", "details", "data_series", "users", "cancel", "file", "other"]
"""Kind of a request: the last part of the path of `GET /segments/...`; `"users"` for `POST
/users/export/segment`, `"cancel"` for `POST /export/segment/cancel`; `"file"` for any request to the host of
exported files; `"other"`."""

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@attrs.frozen
class Answer:
    """One HTTP response of the sandbox.

    Attributes:
        status: HTTP status.
        body: `dict` and `list` become JSON; `str` (as UTF-8) and `bytes` are sent unchanged. `None` is the
            genuine body if the status is 200, so that `Answer(delay=5)` is genuine but late; with another
            status it is a body such as Braze sends with that status.
        headers: Headers that replace those of the sandbox, including the rate-limit headers and `Date`. The
            value `None` removes a header. If a `Content-Length` is larger than the body, the connection is
            closed after the body.
        delay: Seconds to wait before sending, in addition to the sandbox's latency.
        content_type: Value of the `Content-Type` header, sent unchanged.
    """

    status: int = 200
    body: bytes | str | dict[str, Any] | list[Any] | None = None
    headers: Mapping[str, str | None] = attrs.field(factory=dict)
    delay: float = 0.0
    content_type: str = "application/json"

    def encoded(self) -> bytes:
        """Return the body as bytes: compact JSON in UTF-8 unless it is text or bytes."""
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else _encode(self.body)).encode()


@attrs.frozen
class LoggedRequest:
    """One request as it arrived.

    Attributes:
        endpoint: Endpoint of the request.
        ordinal: Position among the requests to this endpoint, from 1, in order of arrival.
        method: HTTP method in capitals.
        path: Path as it was sent, without the query.
        query: Decoded parameters.
        headers: Headers of the request, including `Authorization`; names in any letter case.
        status: Status of the response. 0 until the request is answered, and permanently if the client
            disconnected first.
        at: Time of arrival, in seconds of `time.monotonic()`.
        body: Decoded body of type `application/json`; `None` if there is none or it is not JSON.
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
        """The API key of the request, `""` without one."""
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def is_about(self, segment_id: str) -> bool:
        """Return whether the parameters, the body or the path of an exported file name this segment."""
        parameters = self.body if isinstance(self.body, dict) else self.query
        return parameters.get("segment_id") == segment_id or segment_id in self.path.split("/")


Hook = Callable[[LoggedRequest], Answer | None]
"""Function that is called when a request arrives; `None` stands for the genuine answer."""


@attrs.define
class Rule:
    """An injected answer and the requests that it applies to; a filter that is `None` matches all of them."""

    answer: Answer | Hook
    endpoint: Endpoint | None
    ordinals: int | Collection[int] | None
    segment_id: str | None
    page: int | None
    times: int | None
    chance: float | None
    random: random.Random

    def applies(self, request: LoggedRequest) -> bool:
        """Return whether the rule matches, and count that against `times`."""
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
            # Last, so that the random sequence depends only on the requests that match all other filters.
            and (self.chance is None or self.random.random() < self.chance)
        )
        if matches and self.times is not None:
            self.times -= 1
        return matches

    def answer_to(self, request: LoggedRequest) -> Answer | None:
        """Return the injected answer, or `None` for the genuine one."""
        return self.answer if isinstance(self.answer, Answer) else self.answer(request)


@attrs.define
class RequestLog:
    """The requests to one host, in order of arrival.

    Attributes:
        on_response: Function that is called with each request when its response is sent.
        requests: All requests so far.
    """

    on_response: Callable[[LoggedRequest], object] | None = None
    requests: list[LoggedRequest] = attrs.field(factory=list, init=False)
    _ordinals: Counter[Endpoint] = attrs.field(factory=Counter, init=False)

    async def log_request(self, request: web.BaseRequest, endpoint: Endpoint) -> int:
        """Read the body of a request, log it as unanswered, and return its index."""
        body = None
        if request.content_type == "application/json":
            with suppress(ValueError):
                body = json.loads(await request.read())
        # Counted after the body was read: a client that disconnects earlier has not sent a request.
        self._ordinals[endpoint] += 1
        logged = LoggedRequest(
            endpoint=endpoint,
            ordinal=self._ordinals[endpoint],
            method=request.method,
            path=request.rel_url.raw_path,
            query=dict(request.rel_url.query),
            headers=request.headers,
            status=0,
            at=time.monotonic(),
            body=body,
        )
        self.requests.append(logged)
        return len(self.requests) - 1

    def set_status(self, index: int, status: int) -> None:
        """Replace a logged request by one with a status; the object that a hook received does not change."""
        self.requests[index] = attrs.evolve(self.requests[index], status=status)
        if self.on_response is not None:
            self.on_response(self.requests[index])


def build_response(
    answer: Answer,
    headers: Mapping[str, str],
    body: bytes | AsyncIterator[bytes],
    size: int,
    status: int | None = None,
) -> web.Response:
    """Return a response with `size` bytes of body; the headers of the answer replace `headers`."""
    merged = CIMultiDict(headers)
    for name, value in answer.headers.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = value
    response = web.Response(body=body, status=answer.status if status is None else status, headers=merged)
    if (response.content_length or 0) > size:
        response.force_close()  # otherwise both ends would wait for the missing bytes
    return response
