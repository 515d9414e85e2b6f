"""Nothing is lost without an error: exceptions of every kind in workers, and archived segments."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Literal

import aiohttp
import pytest

from braze_segments_async import BrazeSegments, ConfigError, RetryPolicy, Segment, SegmentListing
from braze_segments_async._fan_out import FanOut
from braze_segments_async.export import export_segments
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

SEGMENTS = 50


class TerminationSignal(BaseException):
    """A `BaseException` like those by which Prefect and Dagster end a run."""


def raise_once() -> Callable[[object], None]:
    """Return a hook whose first call raises; later calls do nothing."""
    calls: list[object] = []

    def hook(event: object) -> None:
        calls.append(event)
        if len(calls) == 1:
            raise TerminationSignal

    return hook


@pytest.fixture
async def failing_once() -> AsyncIterator[Sandbox]:
    """Yield a workspace whose third request for details fails once."""
    async with Sandbox(SEGMENTS) as sandbox:
        sandbox.inject(Answer(503), endpoint="details", ordinals=3)
        yield sandbox


def _client(sandbox: Sandbox, **options: Any) -> BrazeSegments:
    retry = RetryPolicy(backoff=0.0)
    return BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, retry=retry, **options)


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("order", ["as they come", "of the list"])
@pytest.mark.parametrize("on_error", ["raise", "collect"])
async def test_a_base_exception_of_a_hook_reaches_the_caller(
    failing_once: Sandbox, concurrency: int, order: str, on_error: str
) -> None:
    """A stream does not end normally after `on_retry` raised any exception."""
    async with _client(failing_once, concurrency=concurrency, on_retry=raise_once()) as client:
        with pytest.raises(TerminationSignal):
            async for _ in client.all_details(
                ordered=order == "of the list",
                on_error=on_error,  # type: ignore[arg-type]
            ):
                pass
        assert len([details async for details in client.all_details()]) == SEGMENTS


async def test_a_base_exception_in_the_list_reaches_the_caller() -> None:
    """An exception of a hook while a page is read or re-read reaches the caller."""
    for method in ("list", "all_details"):
        for request in (2, 3):  # of page 1, and of page 0 again
            async with Sandbox(150) as sandbox, _client(sandbox, on_retry=raise_once()) as client:
                sandbox.inject(Answer(503), endpoint="list", ordinals=request)
                with pytest.raises(TerminationSignal):
                    async for _ in getattr(client, method)():
                        pass


@pytest.mark.parametrize("endpoint", ["list", "details"])
async def test_an_export_is_not_finished_after_a_base_exception(
    endpoint: Literal["list", "details"], tmp_path: Path
) -> None:
    """No file appears, and a resumed export fetches the missing segments."""
    async with Sandbox(SEGMENTS) as sandbox:
        sandbox.inject(Answer(503), endpoint=endpoint, ordinals=1)
        target = tmp_path / "segments.ndjson"
        async with _client(sandbox, on_retry=raise_once()) as client:
            with pytest.raises(TerminationSignal):
                await export_segments(client, target)
            assert not target.exists()
            result = await export_segments(client, target, resume=True)
        assert result.rows == len(target.read_bytes().splitlines()) == SEGMENTS


@pytest.mark.parametrize("concurrency", [1, 3, 8])
async def test_a_task_that_ends_by_any_exception_ends_the_stream(concurrency: int) -> None:
    """Each result is yielded or the exception reaches the caller, whichever items raise."""
    for seed in range(100):
        chance = random.Random(seed)
        kind = chance.choice([TerminationSignal, GeneratorExit, asyncio.CancelledError, RuntimeError])
        bad = chance.randrange(20)

        async def work(item: int, bad: int = bad, kind: type[BaseException] = kind) -> int:
            await asyncio.sleep(0)
            if item == bad:
                raise kind
            return item

        stream = FanOut(range(20), work, concurrency=concurrency, ordered=chance.random() < 0.5)
        seen: list[int] = []
        with pytest.raises(BaseException) as caught:  # noqa: PT011 - the kinds have no other base
            async for item in stream:
                seen.append(item)  # noqa: PERF401 - what came before the error counts
        assert bad not in seen
        # A task cancelled from outside is reported as such: the caller itself was not cancelled.
        assert kind is asyncio.CancelledError or caught.type is kind


INTERRUPTED = """
import asyncio, signal, sys
from braze_segments_async import BrazeSegments

class Termination(BaseException):
    pass

def interrupt(_, frame):
    # asyncio catches exceptions that are raised in its own code, and in callbacks that it runs.
    code = frame.f_code
    ours = "/braze_segments_async/" in code.co_filename
    if ours and code.co_name not in ("_finished", "_retrieve", "_look", "_cancel_late", "_start_timer"):
        raise Termination
    signal.setitimer(signal.ITIMER_REAL, 0.0001)

async def main(url, key):
    async with BrazeSegments(key, base_url=url) as client:
        return len([details async for details in client.all_details()])

signal.signal(signal.SIGALRM, interrupt)
for line in sys.stdin:
    url, key, delay = line.split()
    signal.setitimer(signal.ITIMER_REAL, float(delay))
    try:
        print(asyncio.run(main(url, key)), flush=True)
    except Termination:
        print("interrupted", flush=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_a_signal_at_any_moment_loses_nothing() -> None:
    """A signal handler's exception ends the call, wherever in the package it is raised.

    The whole catalogue comes where it was complete before the signal.
    """
    moments = random.Random(11)
    with asyncio.Runner() as runner:
        sandbox = Sandbox(SEGMENTS)
        runner.run(sandbox.__aenter__())
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", INTERRUPTED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        answers = []
        for _ in range(int(os.environ.get("SIGNALS", "20"))):
            process.stdin.write(f"{sandbox.base_url} {sandbox.api_key} {moments.uniform(0.001, 0.1)}\n")
            process.stdin.flush()
            answers.append(runner.run(asyncio.to_thread(process.stdout.readline)).strip())
        process.stdin.close()
        process.stdout.close()
        process.wait()
        runner.run(sandbox.__aexit__(None, None, None))
    assert "interrupted" in answers
    assert set(answers) <= {"interrupted", str(SEGMENTS)}


async def test_one_archived_segment_hides_no_other_by_default() -> None:
    """All other 299 segments are yielded by every method if one is archived when page 1 is requested."""
    async with Sandbox(300) as sandbox, _client(sandbox) as client:
        live = set(sandbox.segment_ids)

        def archive(_: object) -> None:
            if sandbox.count("list") == 2:
                archived = sandbox.segment_ids[5]
                sandbox.archive(archived)
                live.discard(archived)

        sandbox.inject(archive, endpoint="list")
        for method in ("list", "all_details", "all_data_series"):
            sandbox.requests.clear()
            assert live <= {found.id async for found in getattr(client, method)()}


class _SlowRereads:
    """Three full pages and a short one; the second read of page 0 has one more row and is slow."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.reread = asyncio.Event()

    async def __call__(self, number: int, _: str) -> tuple[Segment, ...]:
        again = number in self.asked
        self.asked.append(number)
        await asyncio.sleep(0)
        rows = range(100 * number, 100 * number + (100 if number < 3 else 7))
        ids = [str(row) for row in rows]
        if again and number == 0:
            await self.reread.wait()
            ids[-1] = "moved here"
        return tuple(Segment(segment_id, "") for segment_id in ids)


async def test_no_page_waits_for_its_reread() -> None:
    """Pages are yielded as they arrive; rows found by a re-read follow in another page of the same number."""
    fetch = _SlowRereads()
    listing = SegmentListing(fetch)
    pages = []
    async for page in listing.pages():
        pages.append((page.number, len(page.segments)))
        if page.number == 2:
            fetch.reread.set()
    assert sorted(pages) == [(0, 1), (0, 100), (1, 100), (2, 100), (3, 7)]
    assert pages.index((2, 100)) == 2  # none of the first three waited
    assert listing.recovered == 1


async def test_the_first_row_comes_after_one_request() -> None:
    """The first row is yielded before page 1 has arrived, with the default consistency, too."""
    async with Sandbox(250) as sandbox, _client(sandbox) as client:
        sandbox.inject(Answer(delay=30), endpoint="list", page=1)
        async for segment in client.list():
            assert segment.id == sandbox.segment_ids[0]
            break


class _SuspendableLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can jump, as it does for a suspended process."""

    suspended = 0.0

    def time(self) -> float:
        return super().time() + self.suspended


@pytest.mark.parametrize("moment", [3, 150])
def test_a_suspended_process_completes(moment: int) -> None:
    """Time in which the process did not run counts for no timeout and no retry budget, with 100 in flight."""

    async def export() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _SuspendableLoop)
        async with Sandbox(300, latency=0.01) as sandbox, _client(sandbox, concurrency=100) as client:

            def suspend(_: object) -> None:
                if sandbox.count("details") == moment:
                    loop.suspended += 33.0  # longer than every timeout

            sandbox.inject(suspend, endpoint="details")
            return len([details async for details in client.all_details()])

    with asyncio.Runner(loop_factory=_SuspendableLoop) as runner:
        assert runner.run(export()) == 300


async def test_a_middleware_that_uses_its_own_client_gets_a_clear_error() -> None:
    """A middleware that uses its own client gets an error instead of a deadlock on its slot."""
    clients: list[BrazeSegments] = []

    async def middleware(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        await clients[0].details("another-segment")
        return await handler(request)

    async with Sandbox(3) as sandbox, aiohttp.ClientSession(middlewares=(middleware,)) as session:
        async with _client(sandbox, session=session, concurrency=1) as client:
            clients.append(client)
            with pytest.raises(
                ConfigError, match="session has a middleware that sends a request through the client"
            ):
                await client.details(sandbox.segment_ids[0])
