"""The session manager: opens, owns and closes what the requests of a client share."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, Unpack

from attrs import evolve

from braze_segments_async import _arguments as config
from braze_segments_async._instances import likely_mistake
from braze_segments_async._settings import (
    Limits,
    PauseEvent,
    RetryEvent,
    RetryPolicy,
    check_client_options,
)
from braze_segments_async._text import Secret
from braze_segments_async.errors import ClosedError, ConfigError

from .pipeline import Pipeline
from .rate_limiter import RateLimiter
from .retry import Retrier, RetryBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    import aiohttp

    from braze_segments_async._fan_out import FanOut
    from braze_segments_async._models import Stats
    from braze_segments_async._rate_limit import RateLimit
    from braze_segments_async._settings import ClientOptions

    from .endpoints import Request

__all__ = ["SessionManager"]

T = TypeVar("T")


class SessionManager:
    """The life cycle of a client, and the sending of its requests; `BrazeSegments` adds the endpoints.

    Attributes:
        concurrency: requests in flight at once, at most, unless a stream asks for its own number.
    """

    _was_open = False  # only then is there a pipeline

    def __init__(
        self,
        api_key: str,
        *,
        base_url: str,
        concurrency: int = 16,
        timeout: float = 30.0,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        reserve: float = 0.1,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        session: aiohttp.ClientSession | None = None,
        on_retry: Callable[[RetryEvent], object] | None = None,
        on_pause: Callable[[PauseEvent], object] | None = None,
    ) -> None:
        """Check the arguments; nothing is opened yet, so this may be called outside an event loop.

        Args:
            api_key: a REST API key with the permissions `segments.list`, `segments.details`, for sizes
                `segments.data_series` and for users `users.export.segment` (Braze: "REST API key").
            base_url: the REST endpoint of the workspace's cluster (Braze: "API endpoints"), such as an
                `Instance`.
            concurrency: requests in flight at once, at most.
            timeout: seconds for one attempt, from connecting to the last byte.
            retry: when and how often a failed request is repeated.
            reserve: the share of the hourly allowance that is left to others, such as message sending.
            limits: bounds in seconds, bytes, pages and retries.
            session: your own, with its proxy, TLS or tracing; it is used, and never closed.
            on_retry: called with a `RetryEvent` before each retry; a plain function that must not block.
            on_pause: called with a `PauseEvent` when all requests begin to wait for the rate limit, and when
                that wait becomes longer; a plain function that must not block.

        Raises:
            ConfigError: an argument is wrong; the message names it.
        """
        # Wrap secrets first: a traceback may show this frame's locals.
        self._state = "new"
        api_key = Secret(api_key) if isinstance(api_key, str) else type(api_key)  # type: ignore[redundant-expr]
        base_url = Secret(base_url) if isinstance(base_url, str) else base_url  # type: ignore[redundant-expr]
        self._key = config.check_key(api_key, base_url)
        self._url = config.check_base_url(base_url)
        config.check_integer("concurrency", concurrency, at_least=1)
        check_client_options(
            timeout=timeout,
            reserve=reserve,
            retry=retry,
            limits=limits,
            session=session,
            on_retry=on_retry,
            on_pause=on_pause,
        )
        self.concurrency, self._timeout, self._limits, self._session = concurrency, timeout, limits, session
        self._rate_limiter = RateLimiter(
            reserve=reserve, max_wait=retry.max_rate_limit_wait, on_pause=on_pause
        )
        self._retrier = Retrier(retry, RetryBudget(limits.retry_quota), self._rate_limiter, on_retry)
        self._streams: set[FanOut[Any, Any]] = set()

    @classmethod
    def from_env(cls, **options: Unpack[ClientOptions]) -> Self:
        """Take the key and the REST endpoint from `BRAZE_API_KEY` and `BRAZE_BASE_URL`.

        Args:
            options: the other arguments; a `base_url` given here wins over the environment.

        Raises:
            ConfigError: a variable is missing, or an argument is wrong.
        """
        key = Secret(os.environ.get("BRAZE_API_KEY", ""))
        options.setdefault("base_url", os.environ.get("BRAZE_BASE_URL", ""))
        for name, value in (("BRAZE_API_KEY", key), ("BRAZE_BASE_URL", options["base_url"])):
            if not value:
                raise ConfigError(f"the environment variable {name} is not set")
        return cls(key, **options)

    def __repr__(self) -> str:
        return f"<BrazeSegments {getattr(self, '_url', '')} {self._state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a client cannot be pickled or copied: it holds the API key and open connections. Send the name "
            "of the environment variable or the path of the file that has the key, as WorkspaceConfig does, "
            "and make the client where it runs"
        )

    @property
    def base_url(self) -> str:
        """The REST endpoint in use, normalised."""
        return str(self._url)

    @property
    def rate_limit(self) -> RateLimit | None:
        """The rate limit from the most recent response; `None` before the first."""
        return self._rate_limiter.latest

    @property
    def stats(self) -> Stats:
        """What this client has sent so far, and whether it waits: a snapshot, for progress and monitoring."""
        received = self._pipeline.received if self._was_open else 0
        return evolve(self._rate_limiter.stats, retries=self._retrier.retries, bytes=received)

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise ClosedError("a client is opened once; make a new one")
        # aiohttp takes most of the time the package takes to import, and --help does without it.
        from .transport import Transport  # noqa: PLC0415

        transport = Transport(
            self._url, self._key, timeout=self._timeout, limits=self._limits, session=self._session
        )
        transport.open()
        self._pipeline = Pipeline(
            transport, self._rate_limiter, self._retrier, self._key, hint=likely_mistake(self._url.host or "")
        )
        self._slots = asyncio.Semaphore(self.concurrency)
        self._state, self._was_open = "open", True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End what is under way, with `ClosedError` to those who await it; close the session if it is ours.

        The second time it does nothing.
        """
        was, self._state = self._state, "closed"
        if was != "open":
            return
        try:
            await self._pipeline.aclose()
        finally:  # when that is interrupted, too
            for stream in list(self._streams):
                await stream.aclose()

    def _call(self, request: Request[T], slots: asyncio.Semaphore | None = None) -> Coroutine[Any, Any, T]:
        if self._state != "open":
            if self._state == "closed":
                raise ClosedError("this client is closed, and cannot be opened again; make a new one")
            raise ClosedError("open the client first: async with BrazeSegments(…) as segments: …")
        return self._pipeline.call(request, slots or self._slots)
