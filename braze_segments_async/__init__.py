"""Fetch every segment of a Braze workspace with its details: fast, complete and safe.

    from braze_segments_async import BrazeSegments

    async with BrazeSegments("KEY", base_url="https://rest.iad-01.braze.com") as segments:
        async for segment in segments.list():                 # GET /segments/list
            print(segment.id, segment.name, segment.tags)
        async for page in segments.list(sort_direction="desc").pages():
            print(page.number, len(page.segments))
        async for details in segments.all_details():          # the list, and GET /segments/details for each
            print(details.id, details.name, details.description)
        one = await segments.details(segment_id)
        sizes = await segments.data_series(segment_id, length=365)
        print(segments.rate_limit)                            # RateLimit(limit=250000, remaining=249640, …)

All durations are in seconds. All errors are subclasses of `BrazeError`; see `braze_segments_async.errors`.
"""

from ._check import CheckReport
from ._client import BrazeSegments
from ._fan_out import DetailsStream, SegmentStream, SizesStream
from ._instances import Instance
from ._listing import SegmentListing
from ._models import (
    ResponseStats,
    Segment,
    SegmentDetails,
    SegmentFailure,
    SegmentPage,
    SegmentSizes,
    SizePoint,
    Stats,
)
from ._rate_limit import RateLimit
from ._settings import Limits, PauseEvent, RetryEvent, RetryPolicy
from ._users import UsersExport
from ._version import __version__
from .errors import (
    AuthenticationError,
    BadRequestError,
    BrazeError,
    ClosedError,
    ConfigError,
    ExportError,
    ExportExpiredError,
    ExportRunningError,
    NotFoundError,
    PaginationError,
    PermissionDeniedError,
    RateLimitedError,
    RedirectError,
    ReplyError,
    ServerError,
    StatusError,
    TimedOutError,
    TransportError,
)

__all__ = [
    "AuthenticationError",
    "BadRequestError",
    "BrazeError",
    "BrazeSegments",
    "CheckReport",
    "ClosedError",
    "ConfigError",
    "DetailsStream",
    "ExportError",
    "ExportExpiredError",
    "ExportRunningError",
    "Instance",
    "Limits",
    "NotFoundError",
    "PaginationError",
    "PauseEvent",
    "PermissionDeniedError",
    "RateLimit",
    "RateLimitedError",
    "RedirectError",
    "ReplyError",
    "ResponseStats",
    "RetryEvent",
    "RetryPolicy",
    "Segment",
    "SegmentDetails",
    "SegmentFailure",
    "SegmentListing",
    "SegmentPage",
    "SegmentSizes",
    "SegmentStream",
    "ServerError",
    "SizePoint",
    "SizesStream",
    "Stats",
    "StatusError",
    "TimedOutError",
    "TransportError",
    "UsersExport",
    "__version__",
]
