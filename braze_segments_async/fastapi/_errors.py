"""What goes wrong between Braze and us, as an honest status to our own caller."""

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

from ._store import DamagedRecordError

__all__ = ["braze_errors", "http_error", "public_text"]

# The first that fits. All else is a bad gateway: the key of this service, not the caller's, is refused, or
# Braze did not answer as it should.
_STATUSES: dict[type[BrazeError], int] = {
    ConfigError: 422,
    RateLimitedError: 503,
    ExportRunningError: 409,
    ClosedError: 503,
    TimedOutError: 504,
    ExportError: 500,
}
# The other errors of files name paths of this server.
_WITHOUT_PATHS = (IncompleteExportError, ExportExpiredError, DamagedRecordError)


async def braze_errors() -> AsyncIterator[None]:
    """A dependency: what the library raises is answered with an honest status.

    That is 422 for a wrong argument, 404 for a segment that is not there, 503 and `Retry-After` for the rate
    limit, 504 where Braze took too long, and 502 for all other errors of Braze: that Braze refuses the key of
    this service is not the caller's fault. A file that cannot be written is 500 without the path, which is
    logged.
    """
    try:
        yield
    except BrazeError as error:
        problem = http_error(error)
    else:
        return
    raise problem


def http_error(error: BrazeError) -> HTTPException:
    """Return what `braze_errors` raises."""
    if isinstance(error, BadRequestError) and error.segment_id is not None:
        status = 404
    else:
        status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 502)
    headers = {}
    if isinstance(error, RateLimitedError) and (seconds := _seconds_left(error)) is not None:
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    if (text := public_text(error)) != str(error):
        logger.error("answered with status %d: %s", status, error)
    return HTTPException(status, text, headers)


def public_text(error: BrazeError) -> str:
    """Return the text of an error for a client of this server: a generic one if the error can name a path."""
    if not isinstance(error, ExportError) or isinstance(error, _WITHOUT_PATHS):
        return str(error)
    return (
        "this server cannot write the file: its log says why. An export that cannot be resumed can be "
        "started afresh, without `resume`"
    )


def _seconds_left(error: RateLimitedError) -> float | None:
    if error.retry_after is not None or error.resets_at is None:
        return error.retry_after
    return (error.resets_at - datetime.now(UTC)).total_seconds()
