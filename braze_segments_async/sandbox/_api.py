"""The host of the API: a request is checked, counted and answered as Braze does it, or as a test wants it."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from http import HTTPStatus
from typing import Final

import attrs
from aiohttp import web

from . import _log as wire
from ._exports import Exports
from ._faults import Answer, Endpoint, Gauge, LoggedRequest, RateWindow, error_body
from ._handlers import RefusedError, success_body
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
_USED_UP: Final = {"X-RateLimit-Remaining": "0"}


@attrs.define
class ApiHost:
    """Answers the requests of a workspace's API.

    Attributes:
        workspace: Whose segments they are.
        exports: Of their users.
        window: The rate limit.
        injected: Gives the answer that a test has for a request.
        api_key: The one key there is.
        permissions: What it may do.
        latency: Seconds before each answer.
        requests: Every request so far, in order of arrival.
        in_flight: Those that are being answered.
        details_in_flight: Those of them that are for `GET /segments/details`.
    """

    workspace: Workspace
    exports: Exports
    window: RateWindow
    injected: Callable[[LoggedRequest], Answer | None]
    api_key: str
    permissions: frozenset[str]
    latency: float
    requests: list[LoggedRequest] = attrs.field(factory=list, init=False)
    in_flight: Gauge = attrs.field(factory=Gauge, init=False)
    details_in_flight: Gauge = attrs.field(factory=Gauge, init=False)
    _ordinals: Counter[Endpoint] = attrs.field(factory=Counter, init=False)

    async def serve(self, request: web.BaseRequest) -> web.Response:
        """Answer a request."""
        endpoint = _ENDPOINTS.get((request.method, request.rel_url.raw_path), "other")
        logged = await wire.arrival(request, endpoint, self._ordinals)
        self.requests.append(logged)
        place = len(self.requests) - 1
        with self.in_flight, self.details_in_flight if endpoint == "details" else nullcontext():
            answer = self._decide(logged)
            headers = self.window.headers(answer.status)
            if (pause := self.latency + answer.delay) > 0:
                await asyncio.sleep(pause)
            self.requests[place] = attrs.evolve(logged, status=answer.status)
            return wire.response(answer, headers)

    def _decide(self, request: LoggedRequest) -> Answer:
        injected = self.injected(request)
        if injected is None:
            return self._genuine(request)
        headers = injected.headers
        if injected.body is None and injected.status == HTTPStatus.OK:
            genuine = self._genuine(request)
            headers = {**genuine.headers, **headers}
            return attrs.evolve(injected, status=genuine.status, body=genuine.body, headers=headers)
        if injected.status not in {401, 429}:
            self.window.take()
        if injected.status == HTTPStatus.TOO_MANY_REQUESTS:
            headers = {**_USED_UP, **headers}
        body = error_body(injected.status, request.key) if injected.body is None else injected.body
        return attrs.evolve(injected, body=body, headers=headers)

    def _genuine(self, request: LoggedRequest) -> Answer:
        if request.headers.get("Authorization") != f"Bearer {self.api_key}":
            status = 401
        elif not self.window.take():
            return Answer(status=429, body=error_body(429, request.key), headers=_USED_UP)
        elif request.endpoint == "other":
            status = 404
        elif _PERMISSIONS[request.endpoint] not in self.permissions:
            status = 403
        else:
            try:
                return self._success(request)
            except RefusedError as error:
                return Answer(status=400, body={"message": str(error)})
        return Answer(status=status, body=error_body(status, request.key))

    def _success(self, request: LoggedRequest) -> Answer:
        if request.method == "POST":
            return self.exports.answer(request)
        now = self.window.clock()
        return Answer(body=success_body(self.workspace, request.endpoint, request.query, now))
