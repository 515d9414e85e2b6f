"""The rate limit: what a reply's headers say of it (Braze: "API limits"). Nothing here waits."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from multidict import istr

from braze_segments_async._rate_limit import RateLimit

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_SECONDS", "from_epoch", "parse_rate_limit", "parse_retry_after", "sent_at"]

# Ready to be looked up: every reply is asked for all of them.
_DATE = istr("Date")
_LIMIT = istr("X-RateLimit-Limit")
_REMAINING = istr("X-RateLimit-Remaining")
_RESET = istr("X-RateLimit-Reset")
_RELATIVE_BELOW = 1e9  # X-RateLimit-Reset: smaller than any epoch of this century, so seconds from now
_MILLISECONDS_ABOVE = 1e11  # ... larger than any epoch in seconds for three thousand years
MAX_SECONDS = 366 * 86_400.0  # seconds; nobody means more than a year


def sent_at(headers: Mapping[str, str], now: float) -> float:
    """When the service sent a reply, by its own clock: `Date`, in whole seconds.

    Args:
        headers: the reply's, whose lookup ignores letter case.
        now: the local clock, used where there is no `Date`: seconds of the epoch.
    """
    date = _http_date(headers.get(_DATE))
    return now if date is None else date


def parse_rate_limit(headers: Mapping[str, str], sent: float) -> RateLimit | None:
    """Read `X-RateLimit-*`; what is absent, empty or nonsense is `None`, and `None` for all if all are.

    Args:
        headers: the reply's.
        sent: what `sent_at` says of them.
    """
    limit = _count(headers.get(_LIMIT))
    remaining = _count(headers.get(_REMAINING))
    resets_at = _reset(headers.get(_RESET), sent)
    if limit is None and remaining is None and resets_at is None:
        return None
    return RateLimit(limit, remaining, resets_at)


def parse_retry_after(headers: Mapping[str, str], sent: float, *, reset: bool = True) -> float | None:
    """How many seconds the reply asks to wait; the first header that makes sense, else `None`.

    A moment is measured against the reply's own clock, so that a wrong local one does no harm.

    Args:
        headers: the reply's.
        sent: what `sent_at` says of them.
        reset: whether `X-RateLimit-Reset` counts; it does after a 429 only, since every reply has it.
    """
    retry_after = headers.get("Retry-After")
    until = _http_date(retry_after)
    resets_at = _reset(headers.get(_RESET), sent) if reset else None
    waits = (
        _seconds(headers.get("X-RateLimit-Retry-After")),
        _seconds(retry_after),
        None if until is None else until - sent,
        None if resets_at is None else resets_at.timestamp() - sent,
    )
    return next((wait for wait in waits if wait is not None and 0 < wait <= MAX_SECONDS), None)


def _seconds(value: str | None) -> float | None:
    """A finite number, in ASCII; else `None`."""
    if not value or not value.isascii() or "_" in value:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


@lru_cache(maxsize=32)  # a window's headers repeat: the limit always, the rest often
def _count(value: str | None) -> int | None:
    number = _seconds(value)
    return int(number) if number is not None and 0 <= number < _MILLISECONDS_ABOVE else None


@lru_cache(maxsize=8)
def _http_date(value: str | None) -> float | None:
    """A `Date` as seconds of the epoch. It has whole seconds, so many replies share one."""
    if not value:
        return None
    with suppress(ValueError, OverflowError, TypeError):
        date = parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    return None


@lru_cache(maxsize=8)
def _reset(value: str | None, sent: float) -> datetime | None:
    """`X-RateLimit-Reset` as a moment: documented as epoch seconds; seen as relative and as milliseconds."""
    number = _seconds(value)
    if number is None or number < 0:
        return None
    if number < _RELATIVE_BELOW:
        number += sent
    elif number > _MILLISECONDS_ABOVE:
        number /= 1000
    return from_epoch(number)


def from_epoch(epoch: float) -> datetime | None:
    """Seconds of the epoch as UTC; `None` beyond the calendar."""
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(epoch, UTC)
    return None
