"""Time that is made up: an event loop whose clock jumps to the next timer, and a workspace's hours in it."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["HOUR", "LIMIT", "Pool", "Sends", "run"]

T = TypeVar("T")

HOUR = 3_600
LIMIT = 250_000  # requests an hour and workspace: Braze's default
_BURST = 600  # seconds that a campaign takes to be sent


class _Jump(selectors.SelectSelector):
    """Never waits: what an event loop would wait for, it passes over."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """See `selectors`; nothing is ever ready, since nothing comes from outside."""
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing will ever happen")
        self.now += timeout
        return []


class _Loop(asyncio.SelectorEventLoop):
    """A loop of made-up time."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Seconds since the loop was made, all of them made up."""
        return self._jump.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, in made-up time."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)


class Sends:
    """What production asks of a workspace's allowance.

    Half of it comes evenly, half in a campaign of ten minutes; the first hour is the busiest.
    """

    def __init__(self, share: float, campaign_at: float) -> None:
        """See the class.

        Args:
            share: of the allowance, in the first hour; in every later one it is half as much.
            campaign_at: seconds after the full hour at which the campaign begins.
        """
        self._share = share
        self._campaign_at = campaign_at

    def total(self, hour: int) -> int:
        """How many requests in an hour, counted from 0."""
        return int((self._share if hour == 0 else self._share / 2) * LIMIT)

    def until(self, hour: int, into: float) -> int:
        """How many requests in the first so many seconds of an hour."""
        evenly = into / HOUR
        campaign = min(max(0.0, (into - self._campaign_at) / _BURST), 1.0)
        return int(self.total(hour) * (evenly + campaign) / 2)


class Pool:
    """The allowance of one workspace, hour by hour, for production and for whoever exports.

    Attributes:
        left: of this hour.
        asked: requests of the export so far, the refused ones too.
        refused: those that got a 429.
        lost: sends of production that got a 429, and would not have without the export.
    """

    def __init__(self, sends: Sends) -> None:
        self.sends = sends
        self.left = LIMIT
        self.asked = self.refused = self.lost = 0
        self._hour = 0
        self._sent = 0  # what production asked for in this hour
        self._turned_away = 0

    def take(self, now: float) -> bool:
        """One request of the export; whether it is allowed."""
        self.settle(now)
        self.asked += 1
        if not self.left:
            self.refused += 1
            return False
        self.left -= 1
        return True

    def settle(self, now: float) -> None:
        """Let production have what it asked for until now."""
        while now >= (self._hour + 1) * HOUR:
            total = self.sends.total(self._hour)
            self._send(total)
            self.lost += self._turned_away - max(0, total - LIMIT)
            self._hour += 1
            self.left, self._sent, self._turned_away = LIMIT, 0, 0
        self._send(self.sends.until(self._hour, now - self._hour * HOUR))

    def _send(self, until: int) -> None:
        wanted, self._sent = until - self._sent, until
        granted = min(wanted, self.left)
        self.left -= granted
        self._turned_away += wanted - granted
