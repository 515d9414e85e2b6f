"""HTTP statuses for the errors of the library."""

import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from fastapi import HTTPException

from braze_segments_async._text import logger
from braze_segments_async.errors import (
    BadRequestError,
    BrazeError,
    ClosedError,
    ConfigError,
    ExportError,
    ExportExpiredError,
    ExportRunningError,
    RateLimitedError,
    TimedOutError,
)
from braze_segments_async.export import IncompleteExportError

from ._store import StoreError

__all__ = ["braze_errors", "http_error", "public_text", "seconds_to_reset"]

# The first class that fits counts. Any other error is a 502: Braze refused the key of this service, which is
# not the caller's fault, or did not respond as it should.
_STATUSES: dict[type[BrazeError], int] = {
    ConfigError: 422,
    RateLimitedError: 503,
    ExportRunningError: 409,
    ClosedError: 503,
    TimedOutError: 504,
    ExportError: 500,
}
_WITHOUT_PATHS = (IncompleteExportError, ExportExpiredError, StoreError)


async def braze_errors() -> AsyncIterator[None]:
    """Turn errors of the library into HTTP statuses, as a dependency.

    The statuses are 422 for a wrong argument, 404 for an unknown segment, 503 with `Retry-After` for the rate
    limit, 504 for a timeout, and 502 for all other errors of Braze, such as a refused key, which is not the
    caller's fault. If a file cannot be written, the status is 500; its path is logged, and not sent.
    """
    try:
        yield
    except BrazeError as error:
        problem = http_error(error)
    else:
        return
    raise problem  # outside of `except`: the error is not chained


def http_error(error: BrazeError) -> HTTPException:
    """Return the exception that `braze_errors` raises."""
    if isinstance(error, BadRequestError) and error.segment_id is not None:
        status = 404
    else:
        status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 502)
    headers = {}
    if isinstance(error, RateLimitedError) and (seconds := seconds_to_reset(error)) is not None:
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    if (text := public_text(error)) != str(error):
        logger.error("answered with status %d: %s", status, error)
    return HTTPException(status, text, headers)


def seconds_to_reset(error: RateLimitedError) -> float | None:
    """Return the seconds until the rate limit resets; `None` if unknown."""
    if error.retry_after is None and error.resets_at is not None:
        return (error.resets_at - datetime.now(UTC)).total_seconds()
    return error.retry_after


def public_text(error: BrazeError) -> str:
    """Return the text of an error for callers: a general text if the error may name a path of this server."""
    if not isinstance(error, ExportError) or isinstance(error, _WITHOUT_PATHS):
        return str(error)
    return (
        "this server cannot write the file: its log says why. If an export cannot be resumed, start a new "
        "one, without `resume`"
    )
