"""Send one request: acquire a slot, wait for the rate limiter, send, parse, retry."""

from __future__ import annotations

import asyncio
from logging import DEBUG
from typing import TYPE_CHECKING, Any, TypeVar

from braze_segments_async._text import logger
from braze_segments_async.errors import AuthenticationError, BrazeError, ClosedError, ConfigError

from .responses import parse_response

if TYPE_CHECKING:
    from braze_segments_async._text import Secret

    from .endpoints import Request
    from .rate_limiter import RateLimiter
    from .responses import Response
    from .retry import Retrier
    from .transport import Transport

__all__ = ["Pipeline"]

T = TypeVar("T")


class Pipeline:
    """What every request of an open client goes through."""

    def __init__(
        self, transport: Transport, rate_limiter: RateLimiter, retrier: Retrier, secret: Secret, *, hint: str
    ) -> None:
        """See the class.

        Args:
            transport: opened.
            rate_limiter: shared by all requests of a client.
            retrier: shared by all requests.
            secret: the key; a text of the service that contains part of it goes into no message.
            hint: what to say besides when the key is not known there.
        """
        self._transport = transport
        self._rate_limiter = rate_limiter
        self._retrier = retrier
        self._secret = secret
        self._hint = hint
        self._calls: set[asyncio.Task[object]] = set()
        self._aborted: set[asyncio.Task[object]] = set()

    @property
    def received(self) -> int:
        """Bytes of bodies so far."""
        return self._transport.received

    async def call(self, request: Request[T], slots: asyncio.Semaphore) -> T:
        """Send a request, when there is a slot, and as often as it takes.

        Raises:
            ClosedError: the client was closed before the answer came.
            BrazeError: any other that the request met.
        """
        loop = asyncio.get_running_loop()
        self._transport.check(loop)
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - coroutines of ours are awaited in tasks
        if task in self._calls:
            raise ConfigError(
                "session: a middleware of it sends a request through the client that it serves, which would "
                "wait for itself; let the middleware open a client of its own"
            )
        cancelling = task.cancelling()
        self._calls.add(task)
        try:
            if request.part is not None:  # without a slot: all of them may be held by a pause of Braze's
                elsewhere = self._attempt_elsewhere
                return await (
                    self._retrier.run(request, elsewhere) if request.retried else elsewhere(request)
                )
            await slots.acquire()  # `async with` is two coroutines more, for every request
            try:
                return await self._retrier.run(request, self._attempt)
            finally:
                slots.release()
        except asyncio.CancelledError:
            # The way asyncio.timeout() tells its own cancellation from the caller's.
            if task not in self._aborted or task.uncancel() > cancelling:
                raise
        finally:
            self._calls.discard(task)
            self._aborted.discard(task)
        raise ClosedError("the client was closed before the answer came").about(
            str(request.endpoint), segment_id=request.segment_id, page=request.page
        )

    async def _attempt(self, request: Request[T]) -> T:
        await self._rate_limiter.acquire()
        reply = None
        failure: BrazeError
        try:
            reply = await self._transport.send(request)
            if logger.isEnabledFor(DEBUG):
                logger.debug("%s: %d", request.endpoint, reply.status, extra=_labels(request, reply))
            return parse_response(request, reply, self._secret)
        except AuthenticationError as error:
            failure = error
            failure.reason += self._hint
        except BrazeError as error:
            failure = error
        finally:
            if reply is None:
                self._rate_limiter.release()
            else:
                self._rate_limiter.release(reply.rate_limit, None if reply.status == 429 else reply.sent_at)
        failure.attempts = 1
        # Without the frames below: their locals hold the body, and that may hold anything.
        raise failure.with_traceback(None)

    async def _attempt_elsewhere(self, request: Request[T]) -> T:
        """An attempt at a host that has nothing to do with Braze's allowance."""
        failure: BaseException
        try:
            return parse_response(request, await self._transport.send(request), self._secret)
        except BrazeError as error:
            error.attempts = 1
            failure = error.about(str(request.endpoint), segment_id=request.segment_id)
        except asyncio.CancelledError as error:
            failure = error
        # Without the frames below: their locals hold the url, which is a secret, and users.
        raise failure.with_traceback(None)

    async def aclose(self) -> None:
        """End the calls under way, with `ClosedError` to whoever awaits them, and close the transport."""
        for task in self._calls - {asyncio.current_task()}:
            self._aborted.add(task)
            task.cancel()
        await self._transport.aclose()


def _labels(request: Request[Any], reply: Response) -> dict[str, str | int | None]:
    return {**request.labels, "status": reply.status, "bytes": len(reply.body)}
