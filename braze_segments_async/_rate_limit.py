"""The rate limit of a workspace, as a value. Below the errors, which carry it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["RateLimit"]


@frozen
class RateLimit:
    """The workspace's hourly allowance, as the latest reply told it (Braze: "API limits").

    Attributes:
        limit: requests allowed in the window; 250,000 an hour unless Braze agreed otherwise.
        remaining: requests left in it, for everything that uses the workspace.
        resets_at: when the window ends, by Braze's clock; aware, UTC.
    """

    limit: int | None
    remaining: int | None
    resets_at: datetime | None
