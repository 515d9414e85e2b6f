"""Where a fan-out takes its items from: the caller's own iterable, of either kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

__all__ = ["END", "Source"]

ItemT = TypeVar("ItemT")

END: Any = object()  # in the place of an item: there are no more


class Source(Generic[ItemT]):
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
        self._nobody_asks = asyncio.Event()
        self._nobody_asks.set()

    async def take(self) -> ItemT:
        """The next one that is wanted, or `END`."""
        while True:
            # Not with a lock: it lets one in per turn of the loop, where a whole page of items may be there.
            while not self._nobody_asks.is_set():
                await self._nobody_asks.wait()
            if self._over:
                return END  # type: ignore[no-any-return]
            self._over = True  # unless it has something
            item = await self._ask() if self._iterator is None else next(self._iterator, END)
            self._over = item is END
            if self._over or self._is_wanted(item):
                return item

    async def _ask(self) -> ItemT:
        assert self._async_iterator is not None  # noqa: S101 - one of the two
        self._nobody_asks.clear()
        try:
            return await anext(self._async_iterator)
        except StopAsyncIteration:
            return END  # type: ignore[no-any-return]
        finally:
            self._nobody_asks.set()

    async def aclose(self) -> None:
        """Close an iterator that was made here; the caller's own is left alone."""
        if self._async_iterator is not self._items and isinstance(self._async_iterator, AsyncGenerator):
            await self._async_iterator.aclose()
