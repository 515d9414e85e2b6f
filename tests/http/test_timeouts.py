"""Time-outs by one timer: what is late is cancelled, and only that; whose cancellation it was stays clear."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from braze_segments_async._http.timeouts import TimeoutWatchdog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@pytest.fixture
async def watchdog() -> AsyncIterator[TimeoutWatchdog]:
    """Half a second in all, a fifth of it in silence."""
    watchdog = TimeoutWatchdog(total=0.5, read_timeout=0.1)
    yield watchdog
    watchdog.close()


async def attempt(watchdog: TimeoutWatchdog, work: Callable[[Callable[[], None]], object]) -> str:
    """One attempt, as the transport makes it: how it ended."""
    this = watchdog.begin()
    watchdog.connected()

    def heard() -> None:
        this.last_activity = watchdog.now()

    try:
        await work(heard)  # type: ignore[misc]
    except asyncio.CancelledError:
        if not this.uncancel_if_own():
            raise
        return this.reason
    finally:
        watchdog.end(this)
    return "done"


async def forever(_: object) -> None:
    """Nothing ever comes."""
    await asyncio.Event().wait()


async def drip(heard: Callable[[], None]) -> None:
    """Something comes now and then, and there is no end of it."""
    while True:
        heard()
        await asyncio.sleep(0.01)


async def test_silence_and_the_total_are_told_apart(watchdog: TimeoutWatchdog) -> None:
    """What says nothing is cut off after the silence, what goes on and on after the total."""
    began = time.monotonic()
    assert await attempt(watchdog, forever) == "read"
    assert 0.1 <= time.monotonic() - began < 0.4
    began = time.monotonic()
    assert await attempt(watchdog, drip) == "total"
    assert 0.5 <= time.monotonic() - began < 0.9


async def test_there_is_no_silence_before_there_is_a_connection(watchdog: TimeoutWatchdog) -> None:
    """Connecting has a time-out of its own, and so has the whole."""
    this = watchdog.begin()
    assert this.last_activity is None
    with pytest.raises(asyncio.CancelledError):
        await forever(None)
    assert (this.uncancel_if_own(), this.reason) == (True, "total")
    watchdog.end(this)


async def test_many_at_once_need_one_timer(watchdog: TimeoutWatchdog) -> None:
    """Each by its own time; and without attempts nothing ticks."""
    assert watchdog._timer is None
    late = [attempt(watchdog, forever) for _ in range(50)]
    quick = [attempt(watchdog, lambda _: asyncio.sleep(0.01)) for _ in range(50)]
    assert await asyncio.gather(*late, *quick) == ["read"] * 50 + ["done"] * 50
    await asyncio.sleep(0.03)
    assert watchdog._timer is None


async def test_a_loop_that_was_held_up_is_nobodys_silence(watchdog: TimeoutWatchdog) -> None:
    """What came while the caller held up the loop counts before the clock does."""
    reader, writer = await asyncio.open_connection(*(server := await _echo()).sockets[0].getsockname())

    async def read(_: object) -> None:
        writer.write(b"!")
        await reader.readexactly(1)

    async with server:
        task = asyncio.create_task(attempt(watchdog, read))
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


async def test_the_callers_own_cancellation_passes(watchdog: TimeoutWatchdog) -> None:
    """Alone, and together with a time-out of ours: whoever cancelled sees a cancellation."""
    task = asyncio.create_task(attempt(watchdog, forever))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def both() -> str:
        this = watchdog.begin()
        try:
            await forever(None)
        except asyncio.CancelledError:
            return "ours" if this.uncancel_if_own() else "the caller's"
        finally:
            watchdog.end(this)
        raise AssertionError

    task = asyncio.create_task(both())
    await asyncio.sleep(0)
    (this,) = watchdog._attempts.values()
    this.reason = "total"
    this.task.cancel()
    task.cancel()
    assert await task == "the caller's"


async def test_a_time_out_of_the_callers_is_the_callers(watchdog: TimeoutWatchdog) -> None:
    """`asyncio.timeout` around it works as around anything."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await attempt(watchdog, forever)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            assert await attempt(watchdog, forever) == "read"
    assert task.cancelling() == 0


class _ManualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock only the test moves."""

    now = 0.0

    def time(self) -> float:
        """Return the time of the test."""
        return self.now


def test_a_suspension_between_the_check_and_the_cancellation() -> None:
    """Time in which the process is suspended between the two steps of a check counts for no timeout."""

    async def attempt() -> str:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _ManualLoop)
        watchdog = TimeoutWatchdog(total=0.5, read_timeout=0.5)
        this = watchdog.begin()

        def suspend() -> None:
            loop.now = 60.0

        loop.call_at(0.0101, suspend)  # in the same turn of the loop as the check, and after it
        loop.now = 0.0102
        try:
            for _ in range(10):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            return this.reason
        else:
            return f"suspended: {this.suspended}"
        finally:
            watchdog.end(this)
            watchdog.close()

    with asyncio.Runner(loop_factory=_ManualLoop) as runner:
        assert runner.run(attempt()) == "suspended: True"
