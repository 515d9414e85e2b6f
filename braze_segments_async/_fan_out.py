"""The fan-out: many requests, few in flight. Knows nothing of HTTP: it is handed items and `work(item)`."""

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
    from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterable, Iterator

    from ._arguments import OnError

__all__ = ["DetailsStream", "FanOut", "SegmentStream", "SizesStream"]

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

# What one request met, every other would meet too: even with on_error="collect" there is no going on.
_NOT_COLLECTABLE = (AuthenticationError, PermissionDeniedError, RateLimitedError, ClosedError)


@define(eq=False)
class _Outcome(Generic[ItemT, ResultT]):
    """How the work on one item ended; without an item, how the source of the items did."""

    item: ItemT | None = None
    result: ResultT | None = None
    error: BaseException | None = None


_END: Any = object()  # stands for the end of the items


class _Source(Generic[ItemT]):
    """The caller's items: asked for one at a time, and not again once there is an end or a failure."""

    def __init__(
        self, items: Iterable[ItemT] | AsyncIterable[ItemT], is_wanted: Callable[[ItemT], bool]
    ) -> None:
        """See the class.

        Args:
            items: what is an iterator already is left open in the end.
            is_wanted: the others are passed over.
        """
        self._items = items
        self._is_wanted = is_wanted
        self._iterator: Iterator[ItemT] | None = None
        self._async_iterator: AsyncIterator[ItemT] | None = None
        if isinstance(items, AsyncIterable):
            self._async_iterator = aiter(items)
        else:
            self._iterator = iter(items)
        self._over = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def next_item(self) -> ItemT:
        """The next one that is wanted, or `_END`."""
        while True:
            # Not with a lock: it lets one in per index of the loop, where a whole page of items may be there.
            while not self._idle.is_set():
                await self._idle.wait()
            if self._over:
                return _END  # type: ignore[no-any-return]
            self._over = True  # unless it has something
            item = await self._next_async() if self._iterator is None else next(self._iterator, _END)
            self._over = item is _END
            if self._over or self._is_wanted(item):
                return item

    async def _next_async(self) -> ItemT:
        assert self._async_iterator is not None  # noqa: S101 - one of the two
        self._idle.clear()
        try:
            return await anext(self._async_iterator)
        except StopAsyncIteration:
            return _END  # type: ignore[no-any-return]
        finally:
            self._idle.set()

    async def aclose(self) -> None:
        """Close an iterator that was made here; the caller's own is left alone."""
        if self._async_iterator is not self._items and isinstance(self._async_iterator, AsyncGenerator):
            await self._async_iterator.aclose()


class FanOut(Generic[ItemT, ResultT]):
    """Works on every item of a source, a bounded number at a time, and yields the results.

    Workers take items while there is room. An item takes up room until the consumer has taken its result, so
    that a slow consumer stops the workers.
    """

    def __init__(
        self,
        items: Iterable[ItemT] | AsyncIterable[ItemT],
        work: Callable[[ItemT], Coroutine[Any, Any, ResultT]],
        *,
        concurrency: int,
        ordered: bool = False,
        on_error: OnError = "raise",
        key: Callable[[ItemT], Hashable] | None = None,
        wanted: Callable[[ItemT], bool] | None = None,
        running: set[FanOut[Any, Any]] | None = None,
    ) -> None:
        """Nothing is started before iteration.

        Args:
            items: taken one by one, each when there is room for it.
            work: what to do with one; a `BrazeError` it raises is that item's failure.
            concurrency: how many at a time.
            ordered: results in the order of the items, else as they come.
            on_error: "raise" ends the stream with the first failure; "collect" gathers them and goes on.
            key: items of equal key are worked on once; `None` if the source has no repeats.
            wanted: items it says no to are passed over.
            running: the owner's record of streams to close; this one is in it while it runs.
        """
        self._items = items
        self._work = work
        self._concurrency = concurrency
        self._ordered = ordered
        self._collect = on_error == "collect"
        self._key = key
        self._wanted = wanted
        self._running = running if running is not None else set()
        self._failed: list[tuple[ItemT, BrazeError]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._done: deque[_Outcome[ItemT, ResultT]] = deque()
        self._out_of_order: dict[int, _Outcome[ItemT, ResultT]] = {}  # if ordered: those ahead of their index
        self._next_index = 0
        self._submitted = 0
        self._known: set[Hashable] = set()
        self._waiting = self._slot_released_early = False
        self._source: _Source[ItemT] | None = None
        self._state = "new"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def __aiter__(self) -> AsyncGenerator[ResultT, None]:
        """Result after result, until the source is used up. Leaving the loop ends the stream.

        Raises:
            ClosedError: the stream was iterated before, or the client was closed meanwhile.
            BrazeError: the first failure, unless they are collected; or a failure of the source.
        """
        if self._state != "new":
            raise ClosedError("a stream can be iterated once; call the method again for a new one")
        self._state = "running"
        self._running.add(self)
        self._capacity = asyncio.Semaphore(self._concurrency)
        self._changed = asyncio.Event()
        try:
            self._source = _Source(self._items, self._is_wanted)
            for _ in range(min(self._concurrency, length_hint(self._items, self._concurrency))):
                self._spawn(self._worker(self._source))
            while self._done or await self._wait():
                outcome = self._take()
                if outcome.error is None:
                    yield cast("ResultT", outcome.result)
                elif self._can_go_on(outcome):
                    self._failed.append((cast("ItemT", outcome.item), cast("BrazeError", outcome.error)))
                else:
                    raise outcome.error
        finally:
            # The generator is closed by the loop, or when it is dropped: then asyncio closes it.
            await self.aclose()

    async def aclose(self) -> None:
        """Cancel what is in flight and wait until it is over. The second time it does nothing."""
        # The state first: tasks that are cancelled below must not report a failure to a consumer.
        self._state = "closed"
        self._running.discard(self)
        self._out_of_order.clear()
        self._done.clear()
        if self._tasks:
            self._changed.set()
            await cancel_and_wait(self._tasks)
        source, self._source = self._source, None
        if source is not None:
            await source.aclose()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # A worker returns once the source has ended. One that ended in any other way, such as by a
        # BaseException that a hook or a signal handler raised, has lost its item: the stream must fail.
        error = (
            ClosedError("a task of this stream was cancelled from outside")
            if task.cancelled()
            else task.exception()
        )
        if error is not None and self._state == "running":
            self._done.append(_Outcome(error=error))
        self._changed.set()

    async def _worker(self, source: _Source[ItemT]) -> None:
        while True:
            # First of all: no item is taken from the source before there is room for its result.
            await self._capacity.acquire()
            try:
                item = await source.next_item()
            except Exception as error:  # noqa: BLE001 - the source is the caller's: whatever it raises is passed on
                self._deliver(self._assign_index(), _Outcome(error=error))
                continue
            if item is _END:
                break
            index = self._assign_index()
            try:
                outcome = _Outcome(item, await self._work(item))
            except Exception as error:  # noqa: BLE001 - a hook of the caller's may raise anything: passed on
                outcome = _Outcome(item, error=error)
            self._deliver(index, outcome)
        self._capacity.release()  # let the other workers see the end of the input

    def _is_wanted(self, item: ItemT) -> bool:
        if self._wanted is not None and not self._wanted(item):
            return False
        if self._key is not None:
            key = self._key(item)
            if key in self._known:
                return False
            self._known.add(key)
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
        if self._waiting and self._done and self._done[0].error is None:
            # As good as taken: the consumer has nothing else to do, so nobody need wait for it. Not an error,
            # after which nothing more shall be asked for.
            self._waiting, self._slot_released_early = False, True
            self._capacity.release()
        self._changed.set()

    async def _wait(self) -> bool:
        """Until there is an outcome; false once the source is used up and all tasks are over."""
        while not self._done:
            if self._state == "closed":
                raise ClosedError("the stream was closed while it was read")
            if not self._tasks:
                return False
            # Cleared before the wait and after the look at `_done`, without an await in between: no outcome
            # that arrives now can be overlooked.
            self._changed.clear()
            self._waiting = True
            await self._changed.wait()
            self._waiting = False
        return True

    def _take(self) -> _Outcome[ItemT, ResultT]:
        if self._slot_released_early:
            self._slot_released_early = False
        else:
            self._capacity.release()
        return self._done.popleft()

    def _can_go_on(self, outcome: _Outcome[ItemT, ResultT]) -> bool:
        """Whether a failure is one item's own, and wanted as such."""
        return (
            self._collect
            and outcome.item is not None
            and isinstance(outcome.error, BrazeError)
            and not isinstance(outcome.error, _NOT_COLLECTABLE)
        )


class SegmentStream(FanOut["str | Segment", ResultT]):
    """What is asked for of many segments, as it comes or in order.

    Use it with `async for`; `async with` besides makes sure that nothing is left running the moment the
    block is left. It can be iterated once.
    """

    @property
    def failures(self) -> list[SegmentFailure]:
        """The segments that failed so far, with `on_error="collect"`."""
        return [
            SegmentFailure(item.id if isinstance(item, Segment) else item, error)
            for item, error in self._failed
        ]


class DetailsStream(SegmentStream[SegmentDetails]):
    """The details of many segments (`GET /segments/details`); see `SegmentStream`."""


class SizesStream(SegmentStream[SegmentSizes]):
    """The size histories of many segments (`GET /segments/data_series`); see `SegmentStream`."""
