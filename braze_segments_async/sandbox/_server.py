"""The sandbox: Braze's segment endpoints on a loopback port."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from ._api import ApiHost
from ._exports import Exports
from ._faults import Answer, Endpoint, Hook, LoggedRequest, RateWindow, Rule
from ._files import FileHost
from ._workspace import Workspace
from ._zip_files import Archives

_STOP_SECONDS: Final = 0.02  # aiohttp takes 0 for "wait for ever"


class Sandbox:
    """A local Braze, started by `async with` and stopped, whatever it is doing, at the end of the block.

    It answers `GET /segments/list`, `/segments/details` and `/segments/data_series`,
    `POST /users/export/segment` and `/export/segment/cancel` as Braze documents them, for an invented
    workspace that is the same for the same arguments. Exported files are on another port, as they are on
    another host; nobody calls a `callback_endpoint`. A request is decided on when it arrives (the key, then
    the rate limit, the path, the permission, the parameters) and answered after the latency.

    Args:
        segments: How many segments there are to begin with.
        seed: Another seed is another workspace, and other throws for `inject(chance=...)`.
        latency: Seconds before each answer.
        rate_limit: Requests and seconds of one window; windows are aligned to the clock. `None` is Braze's
            own default, 250,000 an hour.
        permissions: What the key may do.
        api_key: The one key there is.
        port: TCP port on 127.0.0.1; 0 takes a free one.
        clock: Seconds since the epoch, for the rate limit, the `Date` header and the age of exports.
        users: How many users each segment exports.
        users_per_file: How many of them are in one file of the ZIP.
        export_delay: Seconds until an export is ready; so long it is running.
        export_life: Seconds until its url has expired, from the same moment on.
        cloud_storage: Whether the workspace has storage of its own, so that exports have no url.

    Attributes:
        api_key: As given.
        requests: Every request to the API so far, in order of arrival.
        file_requests: Every request so far to the host of the exported files, in order of arrival.

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
    ) -> None:
        self.api_key = api_key
        self._seed = seed
        self._port = port
        self._rules: list[Rule] = []
        self._workspace = Workspace(segments, seed)
        self._exports = Exports(self._workspace, seed, export_delay, export_life, cloud_storage, clock)
        self._archives = Archives(users, users_per_file, seed)
        self._window = RateWindow(*(rate_limit or (250_000, 3_600.0)), clock)
        may = frozenset(permissions)
        self._api = ApiHost(
            self._workspace, self._exports, self._window, self._injected, api_key, may, latency
        )
        self._files = FileHost(self._exports, self._archives, self._injected, latency)
        self.requests, self.file_requests = self._api.requests, self._files.requests
        self._runners: list[web.ServerRunner] = []
        self._base_url: str | None = None

    async def __aenter__(self) -> Self:
        """Start answering."""
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
        """The most requests to the API that were being answered at one time."""
        return self._api.in_flight.peak

    @property
    def max_details_in_flight(self) -> int:
        """The most requests for `GET /segments/details` that were being answered at one time."""
        return self._api.details_in_flight.peak

    @property
    def windows(self) -> list[int]:
        """How many requests the rate limit granted in each window that was used, in order."""
        return list(self._window.granted)

    def count(self, endpoint: Endpoint, status: int | None = None) -> int:
        """Count the requests so far to an endpoint, or only those answered with `status`."""
        requests = self.file_requests if endpoint == "file" else self.requests
        return sum(request.endpoint == endpoint and status in {None, request.status} for request in requests)

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
        injected answer takes one request from the rate limit, as a genuine one does, unless it is 401 or 429;
        files are not counted. On the host of the files, an error without a body has one such as S3 sends.

        Args:
            answer: An answer, or a function that is called with the logged request, when it arrives, and
                returns one. It may change the sandbox first; with `None` it lets the genuine answer through.
            endpoint: Only requests to this endpoint.
            ordinals: Only the first, second ... request of its endpoint, counted from 1.
            segment_id: Only requests about this segment, or for a file with its users.
            page: Only this page of `GET /segments/list`, in either direction.
            times: At most so many requests.
            chance: Only this share of them, from 0 to 1, by throws that depend on the seed alone.
        """
        dice = random.Random(f"{self._seed}:rule:{len(self._rules)}")
        self._rules.append(Rule(answer, endpoint, ordinals, segment_id, page, times, chance, dice))

    async def _listen(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], port: int
    ) -> str:
        server = web.Server(handler, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=_STOP_SECONDS)
        self._runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1_024).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _stop(self) -> None:
        runners, self._runners = self._runners, []
        await asyncio.gather(*(runner.cleanup() for runner in runners))
        await asyncio.sleep(0)  # lets the handlers that were just cancelled end
        self._exports.clear()
        await self._archives.close()

    def _injected(self, request: LoggedRequest) -> Answer | None:
        rule = next((rule for rule in reversed(self._rules) if rule.applies(request)), None)
        return None if rule is None else rule.answer_to(request)
