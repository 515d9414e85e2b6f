"""The rate limit of a workspace, as a value. A separate module, since `errors` imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["RateLimit"]


@frozen
class RateLimit:
    """The workspace's hourly rate limit, from the headers of a response (Braze: "API limits").

    Each attribute is `None` if the response has no valid header for it. In `BrazeSegments.rate_limit`,
    `remaining` and `resets_at` are also `None` once the window has ended, until the next response.

    Attributes:
        limit: Number of requests allowed per window; 250,000 an hour unless agreed otherwise with Braze.
        remaining: Number of requests remaining in the window, shared by all clients of the workspace.
        resets_at: End of the window, by Braze's clock (aware, UTC).
    """

    limit: int | None
    remaining: int | None
    resets_at: datetime | None
