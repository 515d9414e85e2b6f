"""Parse the headers of the rate limit (Braze: "API limits"). No I/O."""

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

__all__ = ["MAX_SECONDS", "from_epoch", "parse_rate_limit", "parse_retry_after", "response_date"]

# Prepared for lookup, since all of them are read from every response.
_DATE = istr("Date")
_LIMIT = istr("X-RateLimit-Limit")
_REMAINING = istr("X-RateLimit-Remaining")
_RESET = istr("X-RateLimit-Reset")
_RELATIVE_BELOW = 1e9  # X-RateLimit-Reset: too small for seconds of the epoch, so seconds from now
_MILLISECONDS_ABOVE = 1e11  # ... too large for seconds of the epoch
MAX_SECONDS = 366 * 86_400.0  # a longer wait than a year is an error of the service


def response_date(headers: Mapping[str, str], now: float) -> float:
    """Return the time at which the service sent a response, by its own clock (`Date`).

    Args:
        headers: Headers of the response, whose lookup ignores letter case.
        now: The result without a valid `Date`, in seconds of the epoch.

    Returns:
        Seconds of the epoch.
    """
    date = _http_date(headers.get(_DATE))
    return now if date is None else date


def parse_rate_limit(headers: Mapping[str, str], sent: float) -> RateLimit | None:
    """Parse `X-RateLimit-*`.

    Args:
        headers: Headers of the response.
        sent: Their `response_date`.

    Returns:
        The rate limit, with `None` for absent or invalid headers; `None` if all are absent or invalid.
    """
    limit = _count(headers.get(_LIMIT))
    remaining = _count(headers.get(_REMAINING))
    resets_at = _reset(headers.get(_RESET), sent)
    if limit is None and remaining is None and resets_at is None:
        return None
    return RateLimit(limit, remaining, resets_at)


def parse_retry_after(headers: Mapping[str, str], sent: float, *, reset: bool = True) -> float | None:
    """Return the seconds to wait that the first valid header names.

    Points in time are compared with `sent`, so that a wrong local clock does not matter.

    Args:
        headers: Headers of the response.
        sent: Their `response_date`.
        reset: Whether to use `X-RateLimit-Reset`, too. Every response has it, so use it only after a 429.

    Returns:
        Seconds; `None` if no header names a wait.
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
    """Return a finite ASCII number; `None` for anything else."""
    if not value or not value.isascii() or "_" in value:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


@lru_cache(maxsize=32)  # the headers of one window repeat: the limit always, the others often
def _count(value: str | None) -> int | None:
    number = _seconds(value)
    return int(number) if number is not None and 0 <= number < _MILLISECONDS_ABOVE else None


@lru_cache(maxsize=8)
def _http_date(value: str | None) -> float | None:
    """Return a `Date` in seconds of the epoch. It has whole seconds, so many responses share one."""
    if not value:
        return None
    with suppress(ValueError, OverflowError, TypeError):
        date = parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    return None


@lru_cache(maxsize=8)
def _reset(value: str | None, sent: float) -> datetime | None:
    """Parse `X-RateLimit-Reset`: documented as epoch seconds; also seen relative and in milliseconds."""
    number = _seconds(value)
    if number is None or number < 0:
        return None
    if number < _RELATIVE_BELOW:
        number += sent
    elif number > _MILLISECONDS_ABOVE:
        number /= 1000
    return from_epoch(number)


def from_epoch(epoch: float) -> datetime | None:
    """Return seconds of the epoch as a datetime in UTC; `None` if out of range."""
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(epoch, UTC)
    return None
