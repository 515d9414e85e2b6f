"""Every segment of a Braze workspace, with its details: quickly, completely and safely.

    from braze_segments_async import BrazeSegments

    async with BrazeSegments("KEY", base_url="https://rest.iad-01.braze.com") as segments:
        async for segment in segments.list():                 # GET /segments/list, page after page
            print(segment.id, segment.name, segment.tags)
        async for page in segments.list(sort_direction="desc").pages():
            print(page.number, len(page.segments))
        async for details in segments.all_details():          # the walk, and GET /segments/details for each
            print(details.id, details.name, details.description)
        one = await segments.details(segment_id)
        sizes = await segments.data_series(segment_id, length=365)
        print(segments.rate_limit)                            # RateLimit(limit=250000, remaining=249640, …)

All times are seconds. Everything raised descends from `BrazeError`; see `braze_segments_async.errors`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .check import CheckReport
    from .client import BrazeSegments
    from .config import Limits
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
    from .fanout import DetailsStream, SegmentStream, SizesStream
    from .instances import Instance
    from .listing import SegmentListing
    from .models import Segment, SegmentDetails, SegmentFailure, SegmentPage, SegmentSizes, SizePoint, Stats
    from .rate_limit import RateLimit
    from .retry import RetryEvent, RetryPolicy
    from .users import UsersExport

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
    "PermissionDeniedError",
    "RateLimit",
    "RateLimitedError",
    "RedirectError",
    "ReplyError",
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

_HOMES = (
    "check",
    "client",
    "config",
    "errors",
    "fanout",
    "instances",
    "listing",
    "models",
    "rate_limit",
    "retry",
    "users",
)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Open the door at the first touch: `braze-segments --help` does without what is behind it."""
        if name in _HOMES:
            return import_module(f"{__name__}.{name}")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        for home in _HOMES:
            found = import_module(f"{__name__}.{home}")
            for public in found.__all__:
                if public in __all__:  # what somebody has put in its place stays
                    globals().setdefault(public, getattr(found, public))
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*__all__, *_HOMES})
