"""The hourly rate limit of a workspace, shared by production and an export."""

from __future__ import annotations

__all__ = ["HOUR", "LIMIT", "Pool", "ProductionSends"]

HOUR = 3_600
LIMIT = 250_000  # requests per hour and workspace: Braze's default
_BURST = 600  # seconds that a campaign takes to be sent


class ProductionSends:
    """Requests of production: half evenly spread, half in a campaign of ten minutes."""

    def __init__(self, share: float, campaign_at: float) -> None:
        """Set the demand.

        Args:
            share: Share of the limit in the first hour; every later hour has half of it.
            campaign_at: Start of the campaign, in seconds after the full hour.
        """
        self._share = share
        self._campaign_at = campaign_at

    def total(self, hour: int) -> int:
        """Return the number of requests in an hour, counted from 0."""
        return int((self._share if hour == 0 else self._share / 2) * LIMIT)

    def until(self, hour: int, into: float) -> int:
        """Return the number of requests in the first `into` seconds of an hour."""
        evenly = into / HOUR
        campaign = min(max(0.0, (into - self._campaign_at) / _BURST), 1.0)
        return int(self.total(hour) * (evenly + campaign) / 2)


class Pool:
    """The rate limit of one workspace, shared by production and an export.

    Attributes:
        remaining: Remaining requests in this hour.
        requests: Requests of the export so far, including refused ones.
        refused: Requests of the export that returned 429.
        lost: Production sends that returned 429 because of the export.
    """

    def __init__(self, sends: ProductionSends) -> None:
        self.sends = sends
        self.remaining = LIMIT
        self.requests = self.refused = self.lost = 0
        self._hour = 0
        self._sent = 0  # requests of production in this hour
        self._production_refused = 0

    def take(self, now: float) -> bool:
        """Count one request of the export, and return whether it is allowed."""
        self.settle(now)
        self.requests += 1
        if not self.remaining:
            self.refused += 1
            return False
        self.remaining -= 1
        return True

    def settle(self, now: float) -> None:
        """Count the requests of production until now."""
        while now >= (self._hour + 1) * HOUR:
            total = self.sends.total(self._hour)
            self._send(total)
            self.lost += self._production_refused - max(0, total - LIMIT)
            self._hour += 1
            self.remaining, self._sent, self._production_refused = LIMIT, 0, 0
        self._send(self.sends.until(self._hour, now - self._hour * HOUR))

    def _send(self, until: int) -> None:
        wanted, self._sent = until - self._sent, until
        granted = min(wanted, self.remaining)
        self.remaining -= granted
        self._production_refused += wanted - granted
