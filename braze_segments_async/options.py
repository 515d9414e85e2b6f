"""The keyword arguments of the client, as a type of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from .config import Limits
    from .retry import RetryEvent, RetryPolicy

__all__ = ["ClientOptions"]


class ClientOptions(TypedDict, total=False):
    """The keyword arguments of `BrazeSegments`, for `from_env`."""

    base_url: str
    concurrency: int
    timeout: float
    retry: RetryPolicy
    reserve: float
    limits: Limits
    session: aiohttp.ClientSession | None
    on_retry: Callable[[RetryEvent], object] | None
