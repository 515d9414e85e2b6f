"""The sandbox: Braze's segment endpoints on a loopback port."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import nullcontext
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

import attrs
from aiohttp import web

from braze_segments_async.sandbox.answers import (
    Answer,
    Endpoint,
    Gauge,
    Hook,
    LoggedRequest,
    RateWindow,
    Rule,
    error_body,
)
from braze_segments_async.sandbox.service import RefusedError, success_body
from braze_segments_async.sandbox.workspace import Workspace

_ENDPOINTS: Final[dict[str, Endpoint]] = {
    "/segments/list": "list",
    "/segments/details": "details",
    "/segments/data_series": "data_series",
}
_STOP_SECONDS: Final = 0.02  # aiohttp takes 0 for "wait for ever"


class Sandbox:
    """A local Braze, started by `async with` and stopped, whatever it is doing, at the end of the block.

    It answers `GET /segments/list`, `/segments/details` and `/segments/data_series` as Braze documents them,
    for an invented workspace that is the same for the same arguments. A request is decided on when it arrives
    (the key, then the rate limit, the path, the permission, the parameters) and answered after the latency.

    Args:
        segments: How many segments there are to begin with.
        seed: Another seed is another workspace, and other throws for `inject(chance=...)`.
        latency: Seconds before each answer.
        rate_limit: Requests and seconds of one window; windows are aligned to the clock. `None` is Braze's
            own default, 250,000 an hour.
        permissions: What the key may do.
        api_key: The one key there is.
        port: TCP port on 127.0.0.1; 0 takes a free one.
        clock: Seconds since the epoch, for the rate limit and the `Date` header.

    Attributes:
        api_key: As given.
        requests: Every request so far, in order of arrival.

    Raises:
        RuntimeError: It is entered while it runs.
        OSError: The port is taken.
    """

    def __init__(
        self,
        segments: int = 250,
        *,
        seed: int = 0,
        latency: float = 0.0,
        rate_limit: tuple[int, float] | None = None,
        permissions: Collection[str] = ("segments.list", "segments.details", "segments.data_series"),
        api_key: str = "sandbox-api-key",
        port: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.api_key = api_key
        self.requests: list[LoggedRequest] = []
        self._seed = seed
        self._latency = latency
        self._permissions = frozenset(permissions)
        self._port = port
        self._clock = clock
        self._workspace = Workspace(segments, seed)
        self._window = RateWindow(*(rate_limit or (250_000, 3_600.0)), clock)
        self._rules: list[Rule] = []
        self._ordinals: Counter[Endpoint] = Counter()
        self._in_flight = Gauge()
        self._details_in_flight = Gauge()
        self._runner: web.ServerRunner | None = None
        self._base_url: str | None = None

    async def __aenter__(self) -> Self:
        """Start answering."""
        if self._runner is not None:
            raise RuntimeError("This sandbox is running already; make another one with Sandbox(...).")
        server = web.Server(self._serve, handler_cancellation=True, access_log=None)
        self._runner = runner = web.ServerRunner(server, shutdown_timeout=_STOP_SECONDS)
        try:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self._port, backlog=1_024).start()
        except BaseException:
            await self._stop()
            raise
        self._base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop answering; requests under way are cut off."""
        await self._stop()

    @property
    def base_url(self) -> str:
        """Where it answers, `http://127.0.0.1:<port>`; after the block, where it did."""
        if self._base_url is None:
            raise RuntimeError("The sandbox has no address yet; start it with: async with Sandbox(...).")
        return self._base_url

    @property
    def segment_ids(self) -> list[str]:
        """The identifiers of the segments that are not archived, oldest created first."""
        return self._workspace.live_ids

    @property
    def max_in_flight(self) -> int:
        """The most requests that were being answered at one time."""
        return self._in_flight.peak

    @property
    def max_details_in_flight(self) -> int:
        """The most requests for `GET /segments/details` that were being answered at one time."""
        return self._details_in_flight.peak

    @property
    def windows(self) -> list[int]:
        """How many requests the rate limit granted in each window that was used, in order."""
        return list(self._window.granted)

    def count(self, endpoint: Endpoint, status: int | None = None) -> int:
        """Count the requests so far to an endpoint, or only those answered with `status`."""
        return sum(
            request.endpoint == endpoint and status in {None, request.status} for request in self.requests
        )

    def segment(self, segment_id: str) -> dict[str, Any]:
        """Return what `GET /segments/list` says of a segment, archived or not.

        Raises:
            KeyError: There is no such segment. So it is with all that take an identifier.
        """
        return self._workspace.row(segment_id)

    def details(self, segment_id: str) -> dict[str, Any]:
        """Return what `GET /segments/details` answers for a segment."""
        return self._workspace.details(segment_id)

    def create(self, name: str | None = None) -> str:
        """Add a segment, the newest, and return its identifier; without a name it is given one."""
        return self._workspace.create(name)

    def rename(self, segment_id: str, name: str) -> None:
        """Give a segment another name and a later `updated_at`."""
        self._workspace.rename(segment_id, name)

    def archive(self, segment_id: str) -> None:
        """Take a segment out of the list; its details are still answered."""
        self._workspace.archive(segment_id)

    def unarchive(self, segment_id: str) -> None:
        """Put an archived segment back into its place in the list."""
        self._workspace.unarchive(segment_id)

    def inject(
        self,
        answer: Answer | Hook,
        *,
        endpoint: Endpoint | None = None,
        ordinals: int | Collection[int] | None = None,
        segment_id: str | None = None,
        page: int | None = None,
        times: int | None = None,
        chance: float | None = None,
    ) -> None:
        """Answer the requests that match with `answer` in place of the genuine answer.

        The newest rule that matches wins, so that a particular case can be put on top of a general one. An
        injected answer takes one request from the rate limit, as a genuine one does, unless it is 401 or 429.

        Args:
            answer: An answer, or a function that is called with the logged request, when it arrives, and
                returns one. It may change the sandbox first; with `None` it lets the genuine answer through.
            endpoint: Only requests to this endpoint.
            ordinals: Only the first, second ... request of its endpoint, counted from 1.
            segment_id: Only requests about this segment.
            page: Only this page of `GET /segments/list`, in either direction.
            times: At most so many requests.
            chance: Only this share of them, from 0 to 1, by throws that depend on the seed alone.
        """
        dice = random.Random(f"{self._seed}:rule:{len(self._rules)}")
        self._rules.append(Rule(answer, endpoint, ordinals, segment_id, page, times, chance, dice))

    async def _stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
            await asyncio.sleep(0)  # lets the handlers that were just cancelled end

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        logged = self._log(request)
        place = len(self.requests) - 1
        with self._in_flight, self._details_in_flight if logged.endpoint == "details" else nullcontext():
            answer = self._decide(logged)
            headers = self._window.headers(answer.status)
            if (pause := self._latency + answer.delay) > 0:
                await asyncio.sleep(pause)
            self.requests[place] = attrs.evolve(logged, status=answer.status)
            return _response(answer, headers)

    def _log(self, request: web.BaseRequest) -> LoggedRequest:
        url = request.rel_url
        endpoint = _ENDPOINTS.get(url.raw_path, "other") if request.method == "GET" else "other"
        self._ordinals[endpoint] += 1
        logged = LoggedRequest(
            endpoint=endpoint,
            ordinal=self._ordinals[endpoint],
            query=dict(url.query),
            headers=request.headers,
            status=0,
            at=time.monotonic(),
        )
        self.requests.append(logged)
        return logged

    def _decide(self, request: LoggedRequest) -> Answer:
        rule = next((rule for rule in reversed(self._rules) if rule.applies(request)), None)
        injected = None if rule is None else rule.answer_to(request)
        if injected is None:
            return self._genuine(request)
        if injected.body is None and injected.status == HTTPStatus.OK:
            genuine = self._genuine(request)
            return attrs.evolve(injected, status=genuine.status, body=genuine.body)
        if injected.status not in {401, 429}:
            self._window.take()
        if injected.body is None:
            return attrs.evolve(injected, body=error_body(injected.status, request.key))
        return injected

    def _genuine(self, request: LoggedRequest) -> Answer:
        if request.headers.get("Authorization") != f"Bearer {self.api_key}":
            status = 401
        elif not self._window.take():
            status = 429
        elif request.endpoint == "other":
            status = 404
        elif f"segments.{request.endpoint}" not in self._permissions:
            status = 403
        else:
            try:
                return Answer(
                    body=success_body(self._workspace, request.endpoint, request.query, self._clock())
                )
            except RefusedError as error:
                return Answer(status=400, body={"message": str(error)})
        return Answer(status=status, body=error_body(status, request.key))


def _response(answer: Answer, headers: dict[str, str]) -> web.Response:
    response = web.Response(body=answer.encoded(), status=answer.status, headers=headers)
    response.headers["Content-Type"] = answer.content_type
    for name, value in answer.headers.items():
        if value is None:
            response.headers.pop(name, None)
        else:
            response.headers[name] = value
    return response
