"""Open, share and close what all requests of one client have in common."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from attrs import evolve

from braze_segments_async._arguments import check_key, is_loopback
from braze_segments_async._instances import likely_mistake
from braze_segments_async._models import ResponseStats
from braze_segments_async._support import TaskCancellation
from braze_segments_async._text import Secret
from braze_segments_async.errors import ClosedError, ConfigError

from .rate_limiter import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yarl import URL

    from braze_segments_async._fan_out import FanOut
    from braze_segments_async._models import Stats
    from braze_segments_async._rate_limit import RateLimit
    from braze_segments_async._settings import ClientSettings

    from .endpoints import Request
    from .sender import RequestSender
    from .transport import Transport

__all__ = ["SessionManager"]

T = TypeVar("T")


class SessionManager:
    """The session, rate limiter, retry budget and semaphore of one client.

    Attributes:
        state: "new" before `open`, "closed" after `aclose`.
        settings: Arguments of the client.
        streams: Streams to close with the client.
        is_local: Whether Braze is this machine, as in tests; then so may be the host of users files.
    """

    def __init__(
        self, base_url: URL, key: Secret | Callable[[], str | Awaitable[str]], settings: ClientSettings
    ) -> None:
        """Open nothing yet.

        Args:
            base_url: The REST endpoint, checked and normalised.
            key: The checked API key, or a function that returns a key.
            settings: The other arguments of the client.
        """
        self.state: Literal["new", "open", "closed"] = "new"
        self.settings = settings
        self.streams: set[FanOut[Any, Any]] = set()
        self.is_local = is_loopback(base_url.host or "")
        self._base_url = base_url
        self._key = key
        self._rate_limiter = RateLimiter(
            reserve=settings.reserve,
            max_wait=settings.retry.max_rate_limit_wait,
            on_pause=settings.on_pause,
        )
        self._sender: RequestSender | None = None
        self._transports: list[Transport] = []  # to Braze, and to the hosts of users files if one was needed
        self._calls: dict[asyncio.Task[Any], TaskCancellation] = {}

    @property
    def rate_limit(self) -> RateLimit | None:
        """The rate limit from the most recent response, without what is out of date."""
        return self._rate_limiter.current

    @property
    def stats(self) -> Stats:
        """Counts of the requests so far."""
        stats = self._rate_limiter.stats
        if self._sender is None:
            return stats
        received = sum(transport.received for transport in self._transports)
        responses = tuple(
            ResponseStats(path, status, total.count, total.seconds)
            for (path, status), total in self._sender.totals.items()
        )
        return evolve(stats, retries=self._sender.retries, bytes=received, responses=responses)

    async def open(self) -> None:
        """Make the session, inside the running loop.

        Raises:
            ClosedError: It was opened before.
            ConfigError: The caller's session, or the result of the function for the key, cannot be used.
        """
        self._check_new()
        key = await self._resolve_key()
        self._check_new()  # again: another task can have opened or closed the client during the await
        # aiohttp and tenacity take most of the time the package takes to import, and --help needs neither.
        from .sender import RequestSender  # noqa: PLC0415
        from .transport import Transport  # noqa: PLC0415

        transport = Transport.to_braze(self._base_url, key, self.settings)
        self._sender = RequestSender(
            transport,
            self._rate_limiter,
            self.settings,
            base_url=self._base_url,
            key=key,
            key_hint=likely_mistake(self._base_url.host or ""),
        )
        self._transports.append(transport)
        self._loop = asyncio.get_running_loop()
        self._semaphore = asyncio.Semaphore(self.settings.concurrency)
        self.state = "open"

    def _check_new(self) -> None:
        if self.state != "new":
            raise ClosedError("a client is opened once; make a new one")

    async def _resolve_key(self) -> Secret:
        """Return the API key, from the function of the caller if there is one."""
        if isinstance(self._key, Secret):
            return self._key
        # Wrapped before anything can raise: a traceback may show this frame's locals.
        result: object = self._key()
        result = await result if isawaitable(result) else result
        result = Secret(result) if isinstance(result, str) else type(result)
        return check_key(result, str(self._base_url))

    def file_transport(self) -> Transport:
        """Return the transport to the hosts of users files, which never get the API key."""
        from .transport import Transport  # noqa: PLC0415 - see `open`

        if len(self._transports) == 1:
            transport = Transport.to_files(self.settings, public_only=not self.is_local)
            self._transports.append(transport)
        return self._transports[1]

    async def send(
        self,
        request: Request[T],
        semaphore: asyncio.Semaphore | None = None,
        *,
        attempt: Callable[[Request[T]], Awaitable[T]] | None = None,
        retried: bool = True,
    ) -> T:
        """Send a request, and return its value.

        Args:
            request: The request.
            semaphore: Limits the requests in flight in place of the client's own semaphore.
            attempt: Sends the request once, to another host than Braze's, without a semaphore.
            retried: Whether a failed attempt is repeated, with `attempt`.

        Raises:
            ClosedError: The client is not open, or was closed before the response came.
            BrazeError: Any other failure.
        """
        sender = self._check_open()
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101 - the coroutines of this package run in tasks
        if task in self._calls:
            raise ConfigError(
                "has a middleware that sends a request through the client that it serves, which would wait "
                "for itself; let the middleware open a client of its own",
                argument="session",
            )
        call = self._calls[task] = TaskCancellation(task)
        try:
            if attempt is not None:
                return await (sender.send(request, attempt) if retried else attempt(request))
            # Held until the last attempt, so that a request that waits for its retry still counts: else an
            # outage would let ever more requests begin. `async with` is slower.
            semaphore = semaphore or self._semaphore
            await semaphore.acquire()
            try:
                return await sender.send(request)
            finally:
                semaphore.release()
        except asyncio.CancelledError:
            if not call.uncancel_if_own():
                raise
        finally:
            del self._calls[task]
        raise ClosedError("the client was closed before the response came").about(
            str(request.endpoint), segment_id=request.segment_id, page=request.page
        )

    def _check_open(self) -> RequestSender:
        if self.state == "new" or self._sender is None:
            raise ClosedError("open the client first: async with BrazeSegments(…) as segments: …")
        if self.state == "closed":
            raise ClosedError("this client is closed, and cannot be opened again; make a new one")
        if self._loop is not asyncio.get_running_loop():
            raise ClosedError("this client was opened in another event loop; open one in each loop")
        return self._sender

    async def aclose(self) -> None:
        """End the requests in flight, each with `ClosedError`; close a session made here."""
        was, self.state = self.state, "closed"
        if was != "open":
            return
        # In this order: the requests in flight are cancelled, so that each ends with `ClosedError` and not as
        # cancelled by its stream; then the sessions close; then the streams. The stack runs its callbacks in
        # reverse, and all of them even if one is interrupted.
        async with AsyncExitStack() as closing:
            for stream in self.streams:
                closing.push_async_callback(stream.aclose)
            for transport in self._transports:
                closing.push_async_callback(transport.aclose)
            for task, call in self._calls.items():
                if task is not asyncio.current_task():
                    call.cancel("closed")
