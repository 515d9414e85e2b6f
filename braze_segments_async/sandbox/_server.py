"""The sandbox: Braze's segment endpoints on a loopback port."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import Future
from threading import Thread
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from ._api import ApiHost, RateWindow
from ._exports import Exports
from ._faults import Answer, Endpoint, Hook, LoggedRequest, RequestLog, Rule
from ._files import FileHost, ZipFiles
from ._workspace import Workspace

_SHUTDOWN_SECONDS: Final = 0.02  # aiohttp takes 0 for "wait forever"


class Sandbox:
    """A local server that behaves like Braze, started and stopped by `async with`.

    Without asyncio, `with` starts it in a thread of its own, where it also calls injected functions.

    It answers `GET /segments/list`, `/segments/details` and `/segments/data_series`,
    `POST /users/export/segment` and `/export/segment/cancel` as Braze documents them, for an invented
    workspace that is the same for the same arguments. Exported files are served from another port, as Braze
    serves them from another host. A `callback_endpoint` is never called. The answer to a request is decided
    when the request arrives (path, then key, rate limit, permission, parameters) and sent after the latency.
    The end of the block cancels requests in flight.

    Braze does not document every body. The guide "Testing" lists which bodies are documented or recorded, and
    which are invented.

    Args:
        segments: Initial number of segments.
        seed: Seed of the workspace and of `inject(chance=...)`.
        latency: Seconds before each response.
        rate_limit: Requests and seconds of one window; windows are aligned to the clock. `None` is Braze's
            default, 250,000 requests per hour.
        permissions: Permissions of the key.
        api_key: The only valid key.
        port: TCP port on 127.0.0.1; 0 selects a free port.
        clock: Function that returns the seconds since the epoch, for the rate limit, the `Date` header and
            the age of exports.
        users: Number of users that each segment exports.
        users_per_file: Number of users in one file of the ZIP.
        export_delay: Seconds until an export is ready.
        export_life: Seconds until the URL of an export expires, counted from its start.
        cloud_storage: Whether the workspace has its own storage, so that exports have no URL.
        unknown_fields: Whether an export accepts unknown names in `fields_to_export`, and exports nothing for
            them; `False` refuses the request with 400. What Braze does is not documented.
        on_response: Function that is called with each logged request when its response is sent.

    Attributes:
        api_key: The only valid key.
        requests: All requests to the API so far, in order of arrival.
        file_requests: All requests to the host of exported files so far, in order of arrival.

    Raises:
        RuntimeError: The sandbox is entered while it is running.
        OSError: The port is in use.
    """

    def __init__(
        self,
        segments: int = 250,
        *,
        seed: int = 0,
        latency: float = 0.0,
        rate_limit: tuple[int, float] | None = None,
        permissions: Collection[str] = (
            "segments.list",
            "segments.details",
            "segments.data_series",
            "users.export.segment",
        ),
        api_key: str = "sandbox-api-key",
        port: int = 0,
        clock: Callable[[], float] = time.time,
        users: int = 1_200,
        users_per_file: int = 5_000,
        export_delay: float = 0.0,
        export_life: float = 14_400.0,
        cloud_storage: bool = False,
        unknown_fields: bool = True,
        on_response: Callable[[LoggedRequest], object] | None = None,
    ) -> None:
        self.api_key = api_key
        self._seed = seed
        self._port = port
        self._rules: list[Rule] = []
        self._workspace = Workspace(segments, seed)
        self._exports = Exports(
            workspace=self._workspace,
            seed=seed,
            delay=export_delay,
            life=export_life,
            cloud_storage=cloud_storage,
            unknown_fields=unknown_fields,
            clock=clock,
        )
        self._zip_files = ZipFiles(users, users_per_file, seed)
        self._api = ApiHost(
            workspace=self._workspace,
            exports=self._exports,
            window=RateWindow(*(rate_limit or (250_000, 3_600.0)), clock),
            injected=self._injected,
            api_key=api_key,
            permissions=frozenset(permissions),
            latency=latency,
            log=RequestLog(on_response),
        )
        self._files = FileHost(
            self._exports, self._zip_files, self._injected, latency, RequestLog(on_response)
        )
        self.requests, self.file_requests = self._api.log.requests, self._files.log.requests
        self._runners: list[web.ServerRunner] = []
        self._base_url: str | None = None
        self._thread: Thread | None = None
        self._stop_thread: Callable[[], object] | None = None

    def __enter__(self) -> Self:
        """Start the server in a thread of its own."""
        started: Future[Callable[[], object]] = Future()
        thread = Thread(target=asyncio.run, args=(self._serve(started),), name="braze-sandbox", daemon=True)
        thread.start()
        stop = started.result()  # raises what the start raised
        self._thread, self._stop_thread = thread, stop
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server, cancel requests in flight, and wait for the end of the thread."""
        if self._thread is not None and self._stop_thread is not None:
            self._stop_thread()
            self._thread.join()
            self._thread = self._stop_thread = None

    async def __aenter__(self) -> Self:
        """Start the server."""
        if self._runners:
            raise RuntimeError("This sandbox is running already; make another one with Sandbox(...).")
        try:
            self._base_url = await self._listen(self._api.serve, self._port)
            self._exports.origin = await self._listen(self._files.serve, 0)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server, and cancel requests in flight."""
        await self._stop()

    @property
    def base_url(self) -> str:
        """The address of the API, `http://127.0.0.1:<port>`; it remains after the block.

        Raises:
            RuntimeError: The sandbox was never started.
        """
        if self._base_url is None:
            raise RuntimeError("The sandbox has no address yet; start it with: async with Sandbox(...).")
        return self._base_url

    @property
    def segment_ids(self) -> list[str]:
        """The identifiers of the segments that are not archived, oldest created first."""
        return self._workspace.live_ids

    @property
    def max_in_flight(self) -> int:
        """The highest number of concurrent requests to the API so far."""
        return self._api.in_flight.peak

    @property
    def max_details_in_flight(self) -> int:
        """The highest number of concurrent requests to `GET /segments/details` so far."""
        return self._api.details_in_flight.peak

    @property
    def windows(self) -> list[int]:
        """The number of requests granted in each rate-limit window that was used, in order."""
        return list(self._api.window.granted)

    def count(self, endpoint: Endpoint, status: int | None = None) -> int:
        """Return the number of requests to an endpoint so far, or only of those answered with `status`."""
        requests = self.file_requests if endpoint == "file" else self.requests
        return sum(request.endpoint == endpoint and status in {None, request.status} for request in requests)

    def segment(self, segment_id: str) -> dict[str, Any]:
        """Return the row of a segment in `GET /segments/list`, even if it is archived.

        Raises:
            KeyError: There is no such segment. The other methods with a `segment_id` raise it, too.
        """
        return self._workspace.row(segment_id)

    def details(self, segment_id: str) -> dict[str, Any]:
        """Return the body of `GET /segments/details` for a segment."""
        return self._workspace.details(segment_id)

    def create(self, name: str | None = None) -> str:
        """Add a segment as the newest and return its identifier; without `name`, invent a name."""
        return self._workspace.create(name)

    def rename(self, segment_id: str, name: str) -> None:
        """Change the name of a segment and advance its `updated_at`."""
        self._workspace.rename(segment_id, name)

    def archive(self, segment_id: str) -> None:
        """Remove a segment from the list; its details remain available."""
        self._workspace.archive(segment_id)

    def unarchive(self, segment_id: str) -> None:
        """Return an archived segment to its position in the list."""
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
        """Send `answer` to the requests that match, in place of the genuine answer.

        The newest matching rule applies, so a special case can be added after a general one. An injected
        answer counts against the rate limit like a genuine one, unless it is 401 or 429; requests for files
        do not count. On the host of exported files, an error without a body has one such as S3 sends.

        Args:
            answer: An answer, or a function that receives the logged request on arrival and returns an
                answer. The function may change the sandbox first; if it returns `None`, the genuine answer
                is sent.
            endpoint: Match only requests to this endpoint.
            ordinals: Match only the first, second, ... request to its endpoint, counted from 1.
            segment_id: Match only requests about this segment, or for a file with its users.
            page: Match only this page of `GET /segments/list`, in either direction.
            times: Match at most this number of requests.
            chance: Match only this share of the requests, from 0 to 1, at random but repeatably: it depends
                only on the seed and the order of requests.
        """
        generator = random.Random(f"{self._seed}:rule:{len(self._rules)}")
        self._rules.append(Rule(answer, endpoint, ordinals, segment_id, page, times, chance, generator))

    async def _serve(self, started: Future[Callable[[], object]]) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self:
                started.set_result(lambda: loop.call_soon_threadsafe(stop.set))
                await stop.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _listen(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], port: int
    ) -> str:
        server = web.Server(handler, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
        self._runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1_024).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _stop(self) -> None:
        runners, self._runners = self._runners, []
        await asyncio.gather(*(runner.cleanup() for runner in runners))
        await asyncio.sleep(0)  # one turn of the loop for the handlers that were just cancelled
        self._exports.clear()
        await self._zip_files.close()

    def _injected(self, request: LoggedRequest) -> Answer | None:
        rule = next((rule for rule in reversed(self._rules) if rule.applies(request)), None)
        return None if rule is None else rule.answer_to(request)
