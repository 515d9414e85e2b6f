"""One timer cancels the attempts that are late, and tells its cancellations from those of the caller."""

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
    """Yield a watchdog with a total timeout of 0.5 s and a read timeout of 0.1 s."""
    watchdog = TimeoutWatchdog(total=0.5, read_timeout=0.1)
    yield watchdog
    watchdog.close()


async def attempt(watchdog: TimeoutWatchdog, work: Callable[[Callable[[], None]], object]) -> str:
    """Make an attempt as the transport does; return "done" or the kind of its timeout."""
    current = watchdog.begin()
    watchdog.connected()

    def data_received() -> None:
        current.last_activity = watchdog.now()

    try:
        await work(data_received)  # type: ignore[misc]
    except asyncio.CancelledError:
        if not current.uncancel_if_own():
            raise
        return current.reason
    finally:
        watchdog.end(current)
    return "done"


async def receive_nothing(_: object) -> None:
    """Wait without receiving data."""
    await asyncio.Event().wait()


async def receive_endlessly(data_received: Callable[[], None]) -> None:
    """Receive data every 10 ms, without end."""
    while True:
        data_received()
        await asyncio.sleep(0.01)


async def test_read_timeout_and_total_timeout(watchdog: TimeoutWatchdog) -> None:
    """An attempt without data ends after the read timeout, one with endless data after the total."""
    began = time.monotonic()
    assert await attempt(watchdog, receive_nothing) == "read"
    assert 0.1 <= time.monotonic() - began < 0.4
    began = time.monotonic()
    assert await attempt(watchdog, receive_endlessly) == "total"
    assert 0.5 <= time.monotonic() - began < 0.9


async def test_the_read_timeout_starts_with_the_connection(watchdog: TimeoutWatchdog) -> None:
    """Before a connection is ready only the total timeout applies."""
    current = watchdog.begin()
    assert current.last_activity is None
    with pytest.raises(asyncio.CancelledError):
        await receive_nothing(None)
    assert (current.uncancel_if_own(), current.reason) == (True, "total")
    watchdog.end(current)


async def test_one_timer_serves_all_attempts(watchdog: TimeoutWatchdog) -> None:
    """Concurrent attempts time out separately; without attempts there is no timer."""
    assert watchdog._timer is None
    late = [attempt(watchdog, receive_nothing) for _ in range(50)]
    quick = [attempt(watchdog, lambda _: asyncio.sleep(0.01)) for _ in range(50)]
    assert await asyncio.gather(*late, *quick) == ["read"] * 50 + ["done"] * 50
    await asyncio.sleep(0.03)
    assert watchdog._timer is None


async def test_a_blocked_event_loop_causes_no_timeout(watchdog: TimeoutWatchdog) -> None:
    """Data that arrived while the caller blocked the event loop is read before timeouts are checked."""
    reader, writer = await asyncio.open_connection(*(server := await _echo()).sockets[0].getsockname())

    async def read(_: object) -> None:
        writer.write(b"!")
        await reader.readexactly(1)

    async with server:
        task = asyncio.create_task(attempt(watchdog, read))
        await asyncio.sleep(0)
        await asyncio.to_thread(time.sleep, 0.05)  # the echo arrives, unless the machine is very busy
        time.sleep(0.3)  # noqa: ASYNC251 - blocks the loop on purpose
        assert await task == "done"
        writer.close()
        await writer.wait_closed()


async def _echo() -> asyncio.Server:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(1))
        await reader.read()
        writer.close()

    return await asyncio.start_server(echo, "127.0.0.1")


async def test_a_cancellation_by_the_caller_is_raised(watchdog: TimeoutWatchdog) -> None:
    """A cancellation by the caller is raised, even together with a timeout."""
    task = asyncio.create_task(attempt(watchdog, receive_nothing))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def both() -> str:
        current = watchdog.begin()
        try:
            await receive_nothing(None)
        except asyncio.CancelledError:
            return "the watchdog" if current.uncancel_if_own() else "the caller"
        finally:
            watchdog.end(current)
        raise AssertionError

    task = asyncio.create_task(both())
    await asyncio.sleep(0)
    (current,) = watchdog._attempts.values()
    current.reason = "total"
    current.task.cancel()
    task.cancel()
    assert await task == "the caller"


async def test_a_timeout_of_the_caller(watchdog: TimeoutWatchdog) -> None:
    """`asyncio.timeout` around an attempt works, whichever timeout comes first."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await attempt(watchdog, receive_nothing)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            assert await attempt(watchdog, receive_nothing) == "read"
    assert task.cancelling() == 0


class _ManualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock only the test moves."""

    now = 0.0

    def time(self) -> float:
        """Return the time set by the test."""
        return self.now


def test_a_suspension_between_the_check_and_the_cancellation() -> None:
    """Time in which the process is suspended between the two steps of a check counts for no timeout."""

    async def attempt() -> str:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _ManualLoop)
        watchdog = TimeoutWatchdog(total=0.5, read_timeout=0.5)
        current = watchdog.begin()

        def suspend() -> None:
            loop.now = 60.0

        loop.call_at(0.0101, suspend)  # in the same turn of the loop as the check, and after it
        loop.now = 0.0102
        try:
            for _ in range(10):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            return current.reason
        else:
            return f"suspended: {current.suspended}"
        finally:
            watchdog.end(current)
            watchdog.close()

    with asyncio.Runner(loop_factory=_ManualLoop) as runner:
        assert runner.run(attempt()) == "suspended: True"
