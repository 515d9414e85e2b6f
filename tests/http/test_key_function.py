"""`api_key` as a function that returns the key when the client is opened."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from braze_segments_async import BrazeSegments, ClosedError, ConfigError

if TYPE_CHECKING:
    from braze_segments_async.sandbox import Sandbox

KEY = "d3adb33f-feed-c0ffee"
URL = "https://rest.iad-01.braze.com"


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_the_function_is_called_once(sandbox: Sandbox, kind: str) -> None:
    """A plain or async function is called once, when the client is opened, and its key is sent."""
    calls = []

    def plain() -> str:
        calls.append(1)
        return sandbox.api_key

    async def asynchronous() -> str:
        await asyncio.sleep(0)
        return plain()

    function = plain if kind == "plain" else asynchronous
    client = BrazeSegments(function, base_url=sandbox.base_url)
    assert not calls
    async with client:
        await asyncio.gather(*map(client.details, sandbox.segment_ids[:5]))
    assert (len(calls), sandbox.count("details", 200)) == (1, 5)
    with pytest.raises(ClosedError):
        await client.__aenter__()
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (f"Bearer {KEY}", "api_key must be the key alone"),
        (f"{KEY}\n", "api_key is invalid: character 21 of 21 is a line break"),
        (KEY.encode(), "api_key must be text, got bytes"),
        (None, "api_key must be text, got NoneType"),
    ],
)
async def test_an_invalid_key_from_the_function(result: Any, problem: str) -> None:
    """An invalid result is a `ConfigError` when the client is opened, and no frame shows the key."""
    client = BrazeSegments(lambda: result, base_url=URL)
    with pytest.raises(ConfigError, match=problem) as caught:
        await client.__aenter__()
    assert caught.value.argument == "api_key"
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    # The first frame is that of this test, with its argument.
    assert KEY not in shown[shown.index("_client.py") :]


async def test_an_exception_of_the_function(sandbox: Sandbox) -> None:
    """An exception of the function is raised unchanged; the client can then be opened again."""
    results: list[Exception | str] = [OSError("the secret store is down"), sandbox.api_key]

    def function() -> str:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    client = BrazeSegments(function, base_url=sandbox.base_url)
    with pytest.raises(OSError, match="the secret store is down"):
        await client.__aenter__()
    async with client:
        assert (await client.details(sandbox.segment_ids[0])).name


async def test_a_client_that_two_tasks_open(sandbox: Sandbox) -> None:
    """Of two tasks that open a client while its key is fetched, one gets an error."""

    async def function() -> str:
        await asyncio.sleep(0.01)
        return sandbox.api_key

    client = BrazeSegments(function, base_url=sandbox.base_url)
    opened = await asyncio.gather(*(client.__aenter__() for _ in range(2)), return_exceptions=True)
    assert [type(each) for each in opened] == [BrazeSegments, ClosedError]
    await client.aclose()


def test_neither_text_nor_a_function() -> None:
    """Any other type is refused at once, without the value."""
    with pytest.raises(ConfigError, match="api_key must be text, got bytes"):
        BrazeSegments(KEY.encode(), base_url=URL)  # type: ignore[arg-type]
