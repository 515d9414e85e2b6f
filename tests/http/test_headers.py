"""Rate-limit headers are parsed into a `RateLimit` and a wait; invalid values are ignored."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from braze_segments_async import RateLimit
from braze_segments_async._http.headers import parse_rate_limit, parse_retry_after, response_date

SENT = 1_795_341_600.0  # 2026-11-22 10:00:00 UTC
DATE = "Sun, 22 Nov 2026 10:00:00 GMT"
NAMES = {"limit": "X-RateLimit-Limit", "remaining": "X-RateLimit-Remaining", "reset": "X-RateLimit-Reset"}
NAMES |= {"wait": "X-RateLimit-Retry-After", "retry": "Retry-After", "date": "Date"}


def after(seconds: float) -> datetime:
    """Return the time `seconds` after the response was sent."""
    return datetime.fromtimestamp(SENT + seconds, UTC)


def headers(**values: str) -> CIMultiDict[str]:
    """Return headers, given by their short names."""
    return CIMultiDict({NAMES[name]: value for name, value in values.items()})


def test_rate_limit_headers_of_a_success() -> None:
    """Limit, remaining requests and an aware reset time are parsed; names match in any letter case."""
    found = parse_rate_limit(headers(limit="250000", remaining="249640", reset=str(int(SENT) + 1800)), SENT)
    assert found == RateLimit(250_000, 249_640, after(1800))
    assert parse_rate_limit(CIMultiDict({"x-ratelimit-REMAINING": "0"}), SENT) == RateLimit(None, 0, None)


@pytest.mark.parametrize("value", ["", " ", "soon", "nan", "inf", "-inf", "-1", "1e400", "٣", "0x10", "1,5"])
def test_an_invalid_value_is_none(value: str) -> None:
    """An empty (as on a 401) or invalid value is `None`; without a valid value, so is the rate limit."""
    assert parse_rate_limit(headers(limit=value, remaining=value, reset=value), SENT) is None
    assert parse_rate_limit(headers(limit="10", remaining=value, reset=value), SENT) == RateLimit(
        10, None, None
    )
    assert parse_retry_after(headers(wait=value, retry=value, reset=value), SENT) is None


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [(f"{SENT + 212}", 212), (f"{SENT * 1000 + 212_000}", 212), ("212", 212), ("0", 0), (f"{SENT - 5}", -5)],
)
def test_each_format_of_a_reset(reset: str, seconds: float) -> None:
    """A reset is epoch seconds as documented, milliseconds, or relative seconds as in an SDK's fixtures."""
    found = parse_rate_limit(headers(reset=reset), SENT)
    assert found is not None
    assert found.resets_at == after(seconds)
    assert parse_retry_after(headers(reset=reset), SENT) == (seconds if seconds > 0 else None)


def test_waits_use_the_clock_of_the_service() -> None:
    """Waits are relative to the `Date` header; the local clock is used only without a valid `Date`."""
    for now in (SENT - 7200, SENT, SENT + 7200):
        found = headers(date=DATE, reset=str(int(SENT) + 60))
        assert response_date(found, now) == SENT
        assert parse_retry_after(found, response_date(found, now)) == 60
        assert response_date(headers(), now) == response_date(headers(date="tomorrow"), now) == now


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({"wait": "7", "retry": "8", "reset": "9"}, 7),
        ({"wait": "31622401", "retry": "8", "reset": "9"}, 8),
        ({"wait": "-7", "retry": "Sun, 22 Nov 2026 10:00:08 GMT", "reset": "9"}, 8),
        ({"wait": "0", "retry": "Sun, 22 Nov 2026 09:59:59 GMT", "reset": "9"}, 9),
    ],
)
def test_the_first_valid_wait_is_used(values: dict[str, str], seconds: float | None) -> None:
    """`X-RateLimit-Retry-After` precedes `Retry-After` and the reset; a time in the past is skipped."""
    assert parse_retry_after(headers(**values), SENT) == seconds
    without = None if seconds == 9 else seconds
    assert parse_retry_after(headers(**values), SENT, reset=False) == without


ANYTHING = st.one_of(
    st.text(st.characters(), max_size=12),
    (st.integers() | st.floats()).map(str),
    st.text("0123456789eE+-._ :,MonNvGT", max_size=25),
    st.datetimes().map(lambda when: when.strftime("%a, %d %b %Y %H:%M:%S GMT")),
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(sorted(NAMES)), ANYTHING))
@example({"date": "Mon, 01 Jan 0001 00:00:00 +2359", "reset": "1"})
@example({"date": "1 Jan 1 1:1:1 99999999999999", "retry": "Fri, 31 Dec 9999 23:59:59 -2359"})
def test_any_header_is_parsed_or_ignored(values: dict[str, str]) -> None:
    """Any header text gives a valid value or `None`, and raises no exception."""
    sent = response_date(headers(**values), SENT)
    assert math.isfinite(sent)
    limit = parse_rate_limit(headers(**values), sent)
    wait = parse_retry_after(headers(**values), sent)
    assert limit != RateLimit(None, None, None)
    assert limit is None or min(0, limit.limit or 0, limit.remaining or 0) == 0
    assert wait is None or 0 < wait < math.inf
