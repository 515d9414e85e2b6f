"""Run many requests with a bounded number in flight, and yield the results.

Knows nothing about HTTP: it gets items and `work(item)`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable
from operator import length_hint
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from attrs import define

from ._models import Segment, SegmentDetails, SegmentFailure, SegmentSizes
from ._support import cancel_and_wait
from .errors import AuthenticationError, BrazeError, ClosedError, PermissionDeniedError, RateLimitedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterable

    from ._arguments import OnError

__all__ = ["DetailsStream", "FanOut", "SegmentStream", "SizesStream"]

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

# Every other request would fail in the same way, so these end a stream even with on_error="collect".
_NOT_COLLECTABLE = (AuthenticationError, PermissionDeniedError, RateLimitedError, ClosedError)
_END: Any = object()  # stands for the end of the items


@define(eq=False)
class _Outcome(Generic[ItemT, ResultT]):
    """The end of the work on one item; without an item, the failure of the source of the items."""

    item: ItemT = _END
    result: ResultT | None = None
    error: BaseException | None = None


class FanOut(Generic[ItemT, ResultT]):
    """Runs `work` for every item of a source, a bounded number at a time, and yields the results.

    As many workers as `concurrency` share the source. An item takes up capacity from before it is taken from
    the source until the consumer has taken its result, so a slow consumer stops the workers. The number of
    requests in flight is not limited here but by the semaphore that `work` acquires: the work on one item can
    be several requests, and the pages of a list count, too.
    """

    def __init__(
        self,
        items: Iterable[ItemT] | AsyncIterable[ItemT],
        work: Callable[[ItemT], Coroutine[Any, Any, ResultT]],
        *,
        concurrency: int,
        ordered: bool = False,
        on_error: OnError = "raise",
        dedupe_key: Callable[[ItemT], Hashable] | None = None,
        predicate: Callable[[ItemT], bool] | None = None,
        registry: set[FanOut[Any, Any]] | None = None,
    ) -> None:
        """Start nothing before iteration.

        Args:
            items: The items; an iterator of the caller's is not closed.
            work: Called for each item; a `BrazeError` it raises is the failure of that item.
            concurrency: Number of items in work or with results not yet taken, at most.
            ordered: Whether to yield results in the order of the items instead of as they come.
            on_error: "raise" ends the stream with the first failure; "collect" gathers failures.
            dedupe_key: Items with equal keys are worked on once; `None` if there are no duplicates.
            predicate: Items for which it returns false are skipped.
            registry: The owner's record of streams to close; this stream is in it while it runs.
        """
        self._items = items
        self._work = work
        self._concurrency = concurrency
        self._ordered = ordered
        self._collect = on_error == "collect"
        self._dedupe_key = dedupe_key
        self._predicate = predicate
        self._registry = registry if registry is not None else set()
        self._failed: list[tuple[ItemT, BrazeError]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._done: deque[_Outcome[ItemT, ResultT]] = deque()
        self._out_of_order: dict[int, _Outcome[ItemT, ResultT]] = {}  # if ordered: ahead of their index
        self._next_index = 0
        self._submitted = 0
        self._keys: set[Hashable] = set()
        self._source: AsyncIterator[ItemT] | None = None
        self._exhausted = False
        self._consumer_waits = self._capacity_released_early = False
        self._state = "new"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def __aiter__(self) -> AsyncGenerator[ResultT, None]:
        """Yield the results, until the source is used up.

        After `break`, work continues until the iterator is garbage-collected; use `async with` around the
        loop to end it at once.

        Raises:
            ClosedError: The stream was iterated before, or the client was closed.
            BrazeError: The first failure, unless failures are collected; or a failure of the source.
        """
        if self._state != "new":
            raise ClosedError("a stream can be iterated once; call the method again for a new one")
        self._state = "running"
        self._registry.add(self)
        self._capacity = asyncio.Semaphore(self._concurrency)
        self._source_idle = asyncio.Event()
        self._source_idle.set()
        self._changed = asyncio.Event()
        try:
            items = self._items
            self._source = aiter(items) if isinstance(items, AsyncIterable) else _iterate(items)
            # At least one: the hint is an estimate.
            for _ in range(min(self._concurrency, max(1, length_hint(self._items, self._concurrency)))):
                self._start_worker()
            while self._done or await self._wait():
                outcome = self._take()
                if outcome.error is None:
                    yield cast("ResultT", outcome.result)
                elif self._is_collectable(outcome):
                    self._failed.append((outcome.item, cast("BrazeError", outcome.error)))
                else:
                    raise outcome.error
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Cancel the work in flight and wait until it has ended. Closing a second time does nothing."""
        # Change the state first: tasks that are cancelled below must not report a failure to a consumer.
        self._state = "closed"
        self._registry.discard(self)
        self._out_of_order.clear()
        self._done.clear()
        if self._tasks:
            self._changed.set()
            await cancel_and_wait(self._tasks)
        # Only now: an async generator cannot be closed while a worker waits in it.
        source, self._source = self._source, None
        if source is not self._items and isinstance(source, AsyncGenerator):
            await source.aclose()

    def _start_worker(self) -> None:
        task = asyncio.get_running_loop().create_task(self._run_worker())
        self._tasks.add(task)
        task.add_done_callback(self._worker_ended)

    def _worker_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # A worker returns once the source has ended. One that ended in any other way, such as by a
        # BaseException that a hook or a signal handler raised, has lost its item: the stream must fail.
        if task.cancelled():
            error: BaseException | None = ClosedError("a task of this stream was cancelled from outside")
        else:
            error = task.exception()
        if error is not None and self._state == "running":
            self._done.append(_Outcome(error=error))
        self._changed.set()

    async def _run_worker(self) -> None:
        while True:
            # First of all: no item is taken from the source before there is capacity for its result.
            await self._capacity.acquire()
            try:
                item = await self._next_item()
            except Exception as error:  # noqa: BLE001 - the source is the caller's: whatever it raises is passed on
                self._deliver(self._assign_index(), _Outcome(error=error))
                continue
            if item is _END:
                break
            # Assigned before the work, without an await since the item was taken: the order of the items.
            index = self._assign_index()
            try:
                outcome = _Outcome(item, await self._work(item))
            except Exception as error:  # noqa: BLE001 - a hook of the caller's may raise anything: passed on
                outcome = _Outcome(item, error=error)
            self._deliver(index, outcome)
        self._capacity.release()  # the next worker sees the end, too, and so on to the last one

    async def _next_item(self) -> ItemT:
        """Return the next item to work on, or `_END`; nothing is taken after an end or a failure."""
        while True:
            # An async generator must not be resumed while it runs. Not a lock, which lets in one worker per
            # turn of the event loop: where all items of a page are ready, the last one would wait 100 turns.
            while not self._source_idle.is_set():
                await self._source_idle.wait()
            if self._exhausted or self._source is None:
                return _END  # type: ignore[no-any-return]
            self._source_idle.clear()
            self._exhausted = True  # unless there is an item
            try:
                item: ItemT = await anext(self._source, _END)
            finally:
                self._source_idle.set()
            if item is _END:
                return item
            wanted = self._is_wanted(item)  # may raise
            self._exhausted = False
            if wanted:
                return item

    def _is_wanted(self, item: ItemT) -> bool:
        if self._predicate is not None and not self._predicate(item):
            return False
        if self._dedupe_key is not None:
            key = self._dedupe_key(item)
            if key in self._keys:
                return False
            self._keys.add(key)
        return True

    def _assign_index(self) -> int:
        self._submitted += 1
        return self._submitted - 1

    def _deliver(self, index: int, outcome: _Outcome[ItemT, ResultT]) -> None:
        if not self._ordered:
            self._done.append(outcome)
        else:
            self._out_of_order[index] = outcome
            while self._next_index in self._out_of_order:
                self._done.append(self._out_of_order.pop(self._next_index))
                self._next_index += 1
        if self._consumer_waits and self._done and self._done[0].error is None:
            # The consumer will take this result in the next iteration of the event loop: release its capacity
            # now, so that the next request is sent one iteration earlier. At most one result is released
            # early, and `_take` does not release it again. Not for an error, after which nothing may be sent.
            self._consumer_waits, self._capacity_released_early = False, True
            self._capacity.release()
        self._changed.set()

    async def _wait(self) -> bool:
        """Wait for an outcome; return false once the source is used up and all workers have ended."""
        while not self._done:
            if self._state == "closed":
                raise ClosedError("the stream was closed while it was read")
            if not self._tasks:
                return False
            # Cleared after the check of `_done` without an await in between: no outcome that arrives from now
            # on can be overlooked.
            self._changed.clear()
            self._consumer_waits = True
            await self._changed.wait()
            self._consumer_waits = False
        return True

    def _take(self) -> _Outcome[ItemT, ResultT]:
        if self._capacity_released_early:
            self._capacity_released_early = False
        else:
            self._capacity.release()
        return self._done.popleft()

    def _is_collectable(self, outcome: _Outcome[ItemT, ResultT]) -> bool:
        """Return whether a failure concerns one item only, and failures are collected."""
        return (
            self._collect
            and outcome.item is not _END
            and isinstance(outcome.error, BrazeError)
            and not isinstance(outcome.error, _NOT_COLLECTABLE)
        )


async def _iterate(items: Iterable[ItemT]) -> AsyncGenerator[ItemT, None]:
    for item in items:
        yield item


class SegmentStream(FanOut["str | Segment", ResultT]):
    """Results for many segments, as they come or in order.

    Use it with `async for`, once. With `async with` around the loop, nothing is left running when the block
    is left.
    """

    @property
    def failures(self) -> list[SegmentFailure]:
        """The segments that failed so far, with `on_error="collect"`."""
        return [
            SegmentFailure(item.id if isinstance(item, Segment) else str(item), error)
            for item, error in self._failed
        ]


class DetailsStream(SegmentStream[SegmentDetails]):
    """The details of many segments (`GET /segments/details`); see `SegmentStream`."""


class SizesStream(SegmentStream[SegmentSizes]):
    """The size histories of many segments (`GET /segments/data_series`); see `SegmentStream`."""
