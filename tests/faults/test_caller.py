"""Every fault of the caller has the result of its row."""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pytest
from fault_client import KEY, client_of
from raw_server import RawServer, answer

from braze_segments_async import BrazeSegments, ConfigError, Limits, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "https://rest.iad-01.braze.com"
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - the mistake


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("\t\n", "empty"),
        (f"{KEY}\n", "character 29 of 29 is a line break"),
        (f"{KEY}\r\nX-Other: 1", "character 29 of 40 is a line break"),
        (f"{KEY} ", "character 29 of 29 is white space"),
        (f" {KEY}", "character 1 of 29 is white space"),
        (f"{KEY[:5]}\x00{KEY[5:]}", "character 6 of 29 is a control"),
        (f"{KEY[:5]}\x7f{KEY[5:]}", "character 6 of 29 is a control"),
        (f"{KEY}é", "character 29 of 29 is not ASCII"),
        (f"{KEY}\u200b", "character 29 of 29 is not ASCII"),
        (f"“{KEY}”", "character 1 of 30 is not ASCII"),
        (f"Bearer {KEY}", "Bearer"),
        (f"bearer {KEY}", "Bearer"),
        (None, "NoneType"),
        (KEY.encode(), "bytes"),
        (7, "int"),
    ],
)
def test_key(key: Any, says: str) -> None:
    """An invalid key is a `ConfigError` that names argument and position, never the key."""
    with pytest.raises(ConfigError, match="api_key") as caught:
        BrazeSegments(key, base_url=URL)
    text = f"{caught.value} {caught.value!r} {caught.value.args}"
    assert says in text
    assert KEY[:5] not in text
    assert KEY[-5:] not in text


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("http://rest.iad-01.braze.com", "https"),
        ("http://10.0.0.1", "https"),
        ("http://127.0.0.1.evil.example", "https"),
        ("http://localhost.evil.example", "https"),
        ("ftp://rest.iad-01.braze.com", "https"),
        ("http://[::2]", "https"),
        ("https://u:hunter2@rest.iad-01.braze.com", "api_key"),
        ("https://hunter2@rest.iad-01.braze.com", "api_key"),
        (f"https://user:{KEY}@rest.iad-01.braze.com", "contains the API key"),
        (f"{URL}?a=b", "query"),
        (f"{URL}/?", "query"),
        (f"{URL}#a", "fragment"),
        (f"{URL}#", "fragment"),
        ("https://dashboard-01.braze.com", "API overview"),
        ("https://dashboard.braze.com", "API overview"),
        ("https://sdk.iad-01.braze.com", "API overview"),
        ("sdk.fra-01.braze.eu", "API overview"),
        ("", "base_url"),
        ("https://", "base_url"),
        ("/segments", "base_url"),
        ("https://a b", "base_url"),
        (f"{URL}:99999", "base_url"),
        (f"{URL}\nX: 1", "base_url"),
        (None, "base_url"),
        (7, "base_url"),
    ],
)
def test_url(url: Any, hint: str) -> None:
    """A URL that would expose the key, or is not the REST endpoint, is a `ConfigError` with a hint."""
    with pytest.raises(ConfigError, match="base_url") as caught:
        BrazeSegments(KEY, base_url=url)
    assert hint in str(caught.value)
    assert not any(part in str(caught.value) for part in (KEY, KEY[:14], KEY[14:], "hunter2"))


@pytest.mark.parametrize(
    ("url", "mended"),
    [
        (f"{URL}/", URL),
        ("rest.iad-01.braze.com", URL),
        ("rest.iad-01.braze.com/", URL),
        (f" {URL} ", URL),
        ("https://gateway.example/braze/", "https://gateway.example/braze"),
        ("http://localhost:80", "http://localhost"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("HTTPS://REST.IAD-01.BRAZE.COM", URL),
        ("localhost:8080", "https://localhost:8080"),
    ],
)
def test_url_is_normalized(url: str, mended: str) -> None:
    """A trailing slash is removed, a missing scheme becomes https; http is for loopback; a path remains."""
    assert BrazeSegments(KEY, base_url=url).base_url.rstrip("/") == mended


WRONG: dict[str, tuple[str, Callable[[BrazeSegments], Any]]] = {
    "page -1": ("start_page must be at least 0", lambda c: c.list(start_page=-1)),
    "page a boolean": ("start_page must be an integer of at least 0", lambda c: c.list(start_page=True)),
    "page a float": ("start_page", lambda c: c.list(start_page=1.0)),  # type: ignore[arg-type]
    "page a text": ("start_page", lambda c: c.list(start_page="1")),  # type: ignore[arg-type]
    "sort_direction up": ('"asc" or "desc"', lambda c: c.list(sort_direction="up")),  # type: ignore[arg-type]
    "sort_direction a list": ("sort_direction", lambda c: c.list(sort_direction=["asc"])),  # type: ignore[arg-type]
    "consistency": ('"fast" or "safe" or "strict"', lambda c: c.list(consistency="slow")),  # type: ignore[arg-type]
    "strict from a page": ("start_page", lambda c: c.list(consistency="strict", start_page=1)),
    "length 0": ("length must be at least 1", lambda c: c.data_series("a", length=0)),
    "length -1": ("length must be at least 1", lambda c: c.data_series("a", length=-1)),
    "length a boolean": ("length must be an integer", lambda c: c.data_series("a", length=True)),
    "length a float": ("length", lambda c: c.data_series("a", length=7.0)),  # type: ignore[arg-type]
    "length without end": ("length", lambda c: c.data_series("a", length=10**30)),
    "ending_at naive": (
        "ending_at is naive; it needs a time zone",
        lambda c: c.data_series("a", ending_at=NAIVE),
    ),
    "ending_at a text": ("ending_at must be", lambda c: c.data_series("a", ending_at="2026-01-01")),  # type: ignore[arg-type]
    "ending_at a number": ("ending_at must be", lambda c: c.data_series("a", ending_at=0)),  # type: ignore[arg-type]
    "before the year 1": ("length", lambda c: c.data_series("a", length=999, ending_at=date(1, 2, 1))),
    "an empty id": ("segment_id is empty", lambda c: c.details("")),
    "an empty id, sizes": ("segment_id is empty", lambda c: c.data_series("")),
    "no id": ("segment_id must be text", lambda c: c.details(None)),  # type: ignore[arg-type]
    "an id of bytes": ("segment_id must be text", lambda c: c.data_series(b"a")),  # type: ignore[arg-type]
    "an id that is no text": ("lone surrogate", lambda c: c.details("\ud800")),
    "concurrency 0": ("concurrency must be at least 1", lambda c: c.all_details(concurrency=0)),
    "concurrency a boolean": ("concurrency", lambda c: c.all_details(concurrency=True)),
    "on_error": ('"raise" or "collect"', lambda c: c.all_details(on_error="skip")),  # type: ignore[arg-type]
    "of one id": ("details()", lambda c: c.all_details("abc")),
    "of no iterable": ("of must be", lambda c: c.all_details(7)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRONG)
async def test_argument_of_a_call(name: str) -> None:
    """A wrong argument is a `ConfigError` before anything is sent, with the range."""
    says, call = WRONG[name]
    async with RawServer() as server, client_of(server.base_url) as client:
        with pytest.raises(ConfigError) as caught:
            result = call(client)
            if asyncio.iscoroutine(result):
                await asyncio.wait_for(result, 1)
        assert says in str(caught.value)
        assert not server.requests
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "4", None])
def test_concurrency(value: Any) -> None:
    """Concurrency 0, booleans as numbers: `ConfigError` with the range, before anything is sent."""
    with pytest.raises(ConfigError, match=r"concurrency must be .*at least 1"):
        BrazeSegments(KEY, base_url=URL, concurrency=value)


@pytest.mark.parametrize("value", [0, -1, True, float("nan"), float("inf"), "4", None])
@pytest.mark.parametrize("name", ["timeout", "limits.connect", "limits.read_timeout"])
def test_seconds(name: str, value: Any) -> None:
    """An invalid duration is a `ConfigError` that names the argument."""
    with pytest.raises(ConfigError, match=name):
        if name == "timeout":
            BrazeSegments(KEY, base_url=URL, timeout=value)
        Limits(**{name[7:]: value})


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        *((RetryPolicy, "attempts", value) for value in (0, True, 1.0)),
        *(
            (RetryPolicy, name, value)
            for name in ("backoff", "backoff_cap", "max_rate_limit_wait")
            for value in (-1, True, float("nan"), float("inf"))
        ),
        *((Limits, name, value) for name in ("body", "pages") for value in (0, True, 1.0)),
        *((Limits, "retry_quota", value) for value in (-1, False)),
    ],
)
def test_limits(kind: type, name: str, value: Any) -> None:
    """A limit out of its range is a `ConfigError` that names it."""
    with pytest.raises(ConfigError, match=name):
        kind(**{name: value})


@pytest.mark.parametrize("value", [-0.1, 1, 1.5, True, float("nan"), "0.1"])
def test_reserve(value: Any) -> None:
    """A reserve that is not a share from 0 to below 1 is a `ConfigError`."""
    with pytest.raises(ConfigError, match="reserve"):
        BrazeSegments(KEY, base_url=URL, reserve=value)


IDS = [
    "a&b",
    "a=b",
    "a#b",
    "a/b",
    "a?b",
    "a+b",
    "a%b",
    "a%2Fb",
    "a b",
    "&segment_id=x",
    "../list",
    "セグメント",
    "сегмент",
    "قطعة",
    "😀",
    "a\r\nX: 1",
    "\x00",
    "a;b",
    "'\"<>",
    ".",
    "%",
    "a" * 500,
]


@pytest.mark.parametrize("segment_id", IDS, ids=ascii)
async def test_id_is_sent_exactly(segment_id: str) -> None:
    """An id with `& = # / ? + %` or of another script is sent exactly, percent-encoded."""
    body = b'{"message": "success", "name": "A", "data": []}'
    async with RawServer(answer(200, body)) as server, client_of(server.base_url) as client:
        details = await client.details(segment_id)
        await client.data_series(segment_id)
        async for other in client.all_details([segment_id]):
            assert other == details
        assert details.id == segment_id
        for exchange in server.requests:
            assert exchange.query["segment_id"] == segment_id
            assert set(exchange.query) <= {"segment_id", "length"}
            assert exchange.target.isascii()
            assert exchange.endpoint in {"details", "data_series"}
