"""The API host: checks, counts and answers a request as Braze does, or as a test injects it."""

import asyncio
import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from math import ceil
from typing import Any, Final, Self
from uuid import UUID

import attrs
from aiohttp import web

from ._exports import UNKNOWN_SEGMENT, Exports, RefusedError
from ._faults import Answer, Endpoint, LoggedRequest, RequestLog, build_response
from ._workspace import Workspace

_ENDPOINTS: Final[dict[tuple[str, str], Endpoint]] = {
    ("GET", "/segments/list"): "list",
    ("GET", "/segments/details"): "details",
    ("GET", "/segments/data_series"): "data_series",
    ("POST", "/users/export/segment"): "users",
    ("POST", "/export/segment/cancel"): "cancel",
}
_PERMISSIONS: Final[dict[Endpoint, str]] = {
    "list": "segments.list",
    "details": "segments.details",
    "data_series": "segments.data_series",
    "users": "users.export.segment",
    "cancel": "segments.list",
}
_NONE_REMAINING: Final = {"X-RateLimit-Remaining": "0"}
_ERROR_MESSAGES: Final = {
    202: "queued",
    401: "Invalid API key: {key}",  # like the live service, which echoes the key
    403: "Access Denied",
    404: "Invalid URL",
    429: "Rate limit exceeded",
}

_http_date: Final = lru_cache(maxsize=1)(lambda seconds: formatdate(seconds, usegmt=True))


@attrs.define
class RateWindow:
    """A fixed rate-limit window aligned to the clock, as Braze's hourly one is.

    Attributes:
        limit: Requests granted in one window.
        seconds: Length of a window.
        clock: Function that returns the seconds since the epoch.
        granted: Number of requests granted in each window that was used, in order.
    """

    limit: int
    seconds: float
    clock: Callable[[], float]
    granted: list[int] = attrs.field(factory=list, init=False)
    _start: float | None = attrs.field(default=None, init=False)

    def acquire(self) -> bool:
        """Grant one request, or return `False` if the window is used up."""
        start = self.clock() // self.seconds * self.seconds
        if start != self._start:
            self._start = start
            self.granted.append(0)
        if self.granted[-1] >= self.limit:
            return False
        self.granted[-1] += 1
        return True

    def headers(self, status: int) -> dict[str, str]:
        """Return `Date` and the rate-limit headers; on a 401 the latter are present but empty."""
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
        return {"Date": _http_date(int(now)), **values}


@attrs.define
class InFlightCounter:
    """The number of open `with` blocks, and the highest number so far."""

    now: int = 0
    peak: int = 0

    def __enter__(self) -> Self:
        self.now += 1
        self.peak = max(self.peak, self.now)
        return self

    def __exit__(self, *_: object) -> None:
        self.now -= 1


@attrs.define
class ApiHost:
    """The server of a workspace's API.

    Attributes:
        workspace: Segments of the workspace.
        exports: Exports of users.
        window: Rate limit.
        injected: Function that returns the injected answer to a request, if any.
        api_key: The only valid key.
        permissions: Permissions of the key.
        latency: Seconds before each response.
        log: Log of the requests.
        in_flight: Counter of the requests that are being answered.
        details_in_flight: Counter of those to `GET /segments/details`.
    """

    workspace: Workspace
    exports: Exports
    window: RateWindow
    injected: Callable[[LoggedRequest], Answer | None]
    api_key: str
    permissions: frozenset[str]
    latency: float
    log: RequestLog
    in_flight: InFlightCounter = attrs.field(factory=InFlightCounter, init=False)
    details_in_flight: InFlightCounter = attrs.field(factory=InFlightCounter, init=False)

    async def serve(self, request: web.BaseRequest) -> web.Response:
        """Answer a request."""
        endpoint = _ENDPOINTS.get((request.method, request.rel_url.raw_path), "other")
        index = await self.log.log_request(request, endpoint)
        with self.in_flight, self.details_in_flight if endpoint == "details" else nullcontext():
            # Answer and headers are decided on arrival; the latency comes after.
            answer = self._decide(self.log.requests[index])
            headers = {
                **self.window.headers(answer.status),
                "Content-Type": answer.content_type,
                "X-Request-Id": str(UUID(int=index + 1)),
            }
            if (delay := self.latency + answer.delay) > 0:
                await asyncio.sleep(delay)
            self.log.set_status(index, answer.status)
            body = answer.encoded()
            return build_response(answer, headers, body, len(body))

    def _decide(self, request: LoggedRequest) -> Answer:
        injected = self.injected(request)
        if injected is None:
            return self._genuine_answer(request)
        if injected.body is None and injected.status == HTTPStatus.OK:
            genuine = self._genuine_answer(request)
            headers = {**genuine.headers, **injected.headers}
            return attrs.evolve(injected, status=genuine.status, body=genuine.body, headers=headers)
        if injected.status not in {401, 429}:
            self.window.acquire()
        error = _error(injected.status, request.key)
        body = error.body if injected.body is None else injected.body
        return attrs.evolve(injected, body=body, headers={**error.headers, **injected.headers})

    def _genuine_answer(self, request: LoggedRequest) -> Answer:
        if request.endpoint == "other":  # answered before the key is read, so it counts for no workspace
            status = 404
        elif request.headers.get("Authorization") != f"Bearer {self.api_key}":
            status = 401
        elif not self.window.acquire():
            status = 429
        elif _PERMISSIONS[request.endpoint] not in self.permissions:
            status = 403
        else:
            return self._authorised_answer(request)
        return _error(status, request.key)

    def _authorised_answer(self, request: LoggedRequest) -> Answer:
        try:
            if request.method == "POST":
                return self.exports.answer(request)
            now = self.window.clock()
            return Answer(body=success_body(self.workspace, request.endpoint, request.query, now))
        except RefusedError as error:
            return Answer(status=400, body={"message": str(error)})


def success_body(
    workspace: Workspace, endpoint: Endpoint, query: Mapping[str, str], now: float
) -> dict[str, Any]:
    """Return the body of the genuine answer to an authorised `GET`; `now` is in seconds since the epoch.

    Raises:
        RefusedError: A parameter is missing or wrong.
    """
    if endpoint == "list":
        return _list(workspace, query)
    segment_id = query.get("segment_id", "")
    if segment_id not in workspace:
        raise RefusedError(UNKNOWN_SEGMENT)
    if endpoint == "details":
        return workspace.details(segment_id)
    return _data_series(workspace, segment_id, query, now)


def _list(workspace: Workspace, query: Mapping[str, str]) -> dict[str, Any]:
    page = query.get("page", "0")
    if not re.fullmatch("[0-9]{1,12}", page):
        raise RefusedError("page must be a non-negative integer")
    direction = query.get("sort_direction", "asc")
    if direction not in {"asc", "desc"}:
        raise RefusedError("sort_direction must be asc or desc")
    rows = workspace.page(int(page), newest_first=direction == "desc")
    return {"message": "success", "segments": rows}


def _data_series(
    workspace: Workspace, segment_id: str, query: Mapping[str, str], now: float
) -> dict[str, Any]:
    length = query.get("length", "")
    if not re.fullmatch("[0-9]{1,3}", length) or not 1 <= int(length) <= 100:
        raise RefusedError("length must be an integer between 1 and 100")
    ending_at = query.get("ending_at")
    try:
        end = datetime.fromtimestamp(now, UTC) if ending_at is None else datetime.fromisoformat(ending_at)
        last = (end - timedelta(microseconds=1)).date()  # midnight excludes the day that begins then
        return {"message": "success", "data": workspace.sizes(segment_id, int(length), last)}
    except (ValueError, OverflowError):  # not a date, or so early that the calendar has no days before it
        raise RefusedError("ending_at must be an ISO 8601 date") from None


def _error(status: int, key: str) -> Answer:
    """Return an answer such as Braze sends with `status`."""
    message = _ERROR_MESSAGES.get(status) or HTTPStatus(status).phrase
    headers = _NONE_REMAINING if status == HTTPStatus.TOO_MANY_REQUESTS else {}
    return Answer(status=status, body={"message": message.replace("{key}", key)}, headers=headers)
