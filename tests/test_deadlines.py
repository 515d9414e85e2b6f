"""Time-outs by one timer: what is late is cancelled, and only that; whose cancellation it was stays clear."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from braze_segments_async.deadlines import Deadlines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@pytest.fixture
async def deadlines() -> AsyncIterator[Deadlines]:
    """Half a second in all, a fifth of it in silence."""
    deadlines = Deadlines(total=0.5, silence=0.1)
    yield deadlines
    deadlines.aclose()


async def attempt(deadlines: Deadlines, work: Callable[[Callable[[], None]], object]) -> str:
    """One attempt, as the transport makes it: how it ended."""
    this = deadlines.begin()
    deadlines.connected()

    def heard() -> None:
        this.heard_at = deadlines.now()

    try:
        await work(heard)  # type: ignore[misc]
    except asyncio.CancelledError:
        if not this.timed_out():
            raise
        return this.late
    finally:
        deadlines.end(this)
    return "done"


async def forever(_: object) -> None:
    """Nothing ever comes."""
    await asyncio.Event().wait()


async def drip(heard: Callable[[], None]) -> None:
    """Something comes now and then, and there is no end of it."""
    while True:
        heard()
        await asyncio.sleep(0.01)


async def test_silence_and_the_total_are_told_apart(deadlines: Deadlines) -> None:
    """What says nothing is cut off after the silence, what goes on and on after the total."""
    began = time.monotonic()
    assert await attempt(deadlines, forever) == "silence"
    assert 0.1 <= time.monotonic() - began < 0.4
    began = time.monotonic()
    assert await attempt(deadlines, drip) == "total"
    assert 0.5 <= time.monotonic() - began < 0.9


async def test_there_is_no_silence_before_there_is_a_connection(deadlines: Deadlines) -> None:
    """Connecting has a time-out of its own, and so has the whole."""
    this = deadlines.begin()
    assert this.heard_at is None
    with pytest.raises(asyncio.CancelledError):
        await forever(None)
    assert (this.timed_out(), this.late) == (True, "total")
    deadlines.end(this)


async def test_many_at_once_need_one_timer(deadlines: Deadlines) -> None:
    """Each by its own time; and without attempts nothing ticks."""
    assert deadlines._timer is None
    late = [attempt(deadlines, forever) for _ in range(50)]
    quick = [attempt(deadlines, lambda _: asyncio.sleep(0.01)) for _ in range(50)]
    assert await asyncio.gather(*late, *quick) == ["silence"] * 50 + ["done"] * 50
    await asyncio.sleep(0.03)
    assert deadlines._timer is None


async def test_a_loop_that_was_held_up_is_nobodys_silence(deadlines: Deadlines) -> None:
    """What came while the caller held up the loop counts before the clock does."""
    reader, writer = await asyncio.open_connection(*(server := await _echo()).sockets[0].getsockname())

    async def read(_: object) -> None:
        writer.write(b"!")
        await reader.readexactly(1)

    async with server:
        task = asyncio.create_task(attempt(deadlines, read))
        await asyncio.sleep(0)
        await asyncio.to_thread(time.sleep, 0.05)  # the echo is on its way, unless the machine is very busy
        time.sleep(0.3)  # noqa: ASYNC251 - that is the point
        assert await task == "done"
        writer.close()
        await writer.wait_closed()


async def _echo() -> asyncio.Server:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(1))
        await reader.read()
        writer.close()

    return await asyncio.start_server(echo, "127.0.0.1")


async def test_the_callers_own_cancellation_passes(deadlines: Deadlines) -> None:
    """Alone, and together with a time-out of ours: whoever cancelled sees a cancellation."""
    task = asyncio.create_task(attempt(deadlines, forever))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def both() -> str:
        this = deadlines.begin()
        try:
            await forever(None)
        except asyncio.CancelledError:
            return "ours" if this.timed_out() else "the caller's"
        finally:
            deadlines.end(this)
        raise AssertionError

    task = asyncio.create_task(both())
    await asyncio.sleep(0)
    (this,) = deadlines._attempts.values()
    this.late = "total"
    this.task.cancel()
    task.cancel()
    assert await task == "the caller's"


async def test_a_time_out_of_the_callers_is_the_callers(deadlines: Deadlines) -> None:
    """`asyncio.timeout` around it works as around anything."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await attempt(deadlines, forever)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            assert await attempt(deadlines, forever) == "silence"
    assert task.cancelling() == 0
