"""What the commands do, and the exit code of each way it can end."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack, aclosing, suppress
from typing import TYPE_CHECKING, Any

from braze_segments_async.client import BrazeSegments
from braze_segments_async.errors import BrazeError, ConfigError
from braze_segments_async.export import to_json_line
from braze_segments_async.options import ClientOptions
from braze_segments_async.retry import RetryPolicy
from braze_segments_async.sandbox import Sandbox
from braze_segments_async.tasks import start, stop
from braze_segments_async.text import plain

from .output import opened
from .progress import Watch, say, watching

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine
    from pathlib import Path

    from braze_segments_async.models import Segment

__all__ = ["run_export", "run_sandbox"]

_SANDBOX_SEGMENTS = 250
_RETRY = RetryPolicy(max_rate_limit_wait=3_900)  # a window of an hour, and a little


def run_export(
    *,
    output: Path | None,
    concurrency: int,
    sandbox: bool,
    segments: int | None,
    base_url: str | None,
    quiet: bool,
) -> int:
    """Do `braze-segments export`; see there for the options, and for the exit code this returns."""
    if sandbox and base_url is not None:
        return _wrong("--sandbox has its own base url: leave --base-url out")
    if segments is not None and not sandbox:
        return _wrong("--segments is the size of the sandbox: it needs --sandbox")
    size = (_SANDBOX_SEGMENTS if segments is None else segments) if sandbox else None
    options = ClientOptions(concurrency=concurrency, retry=_RETRY)
    if base_url is not None:
        options["base_url"] = base_url
    return _run(_export(output, options, sandbox=size, quiet=quiet))


def run_sandbox(*, port: int, segments: int, seed: int, latency: float) -> int:
    """Do `braze-segments sandbox`."""
    return _run(_serve(Sandbox(segments, seed=seed, latency=latency, port=port), segments))


async def _export(output: Path | None, options: ClientOptions, *, sandbox: int | None, quiet: bool) -> None:
    async with AsyncExitStack() as stack:
        write = stack.enter_context(opened(output))
        segments = await stack.enter_async_context(await _client(stack, options, sandbox))
        watch = Watch(segments)
        if not quiet:
            # Lines of output on the same terminal would tear the bar apart.
            bar = output is not None or not sys.stdout.isatty()
            await stack.enter_async_context(watching(watch, bar=bar))
        # A stream leaves an iterator of the caller's open, so it is closed here, after the stream.
        found = await stack.enter_async_context(aclosing(_found(segments, watch)))
        stream = await stack.enter_async_context(segments.all_details(of=found))
        async for details in stream:
            await write(to_json_line(details))
            watch.details()
    if not quiet:
        say(watch.summary() + (f" → {plain(str(output))}" if output is not None else ""))


async def _client(stack: AsyncExitStack, options: ClientOptions, sandbox: int | None) -> BrazeSegments:
    """A client of the workspace the environment names, or of a sandbox of that many segments."""
    if sandbox is None:
        return BrazeSegments.from_env(**options)
    server = await stack.enter_async_context(Sandbox(sandbox))
    options["base_url"] = server.base_url
    return BrazeSegments(server.api_key, **options)


async def _found(segments: BrazeSegments, watch: Watch) -> AsyncGenerator[Segment, None]:
    """The segments of the list, which is walked to its end as fast as it comes.

    Left to the stream, the walk would stay one page ahead of the details: nobody could say how long it takes
    until it is nearly over, and the longer a walk, the more the workspace changes under it.
    """
    queue: asyncio.Queue[Segment | None] = asyncio.Queue()

    async def walk() -> None:
        async for page in segments.list().pages():
            watch.page(page)
            for segment in page.segments:
                queue.put_nowait(segment)
        watch.listed = True

    walking = start(walk())
    walking.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (segment := await queue.get()) is not None:
            if walking.done():
                walking.result()  # a walk that failed ends the export now, not after what it had found
            yield segment
        walking.result()
    finally:
        await stop([walking])


async def _serve(server: Sandbox, segments: int) -> None:
    async with server as sandbox:
        sys.stdout.write(
            f"A sandbox of {segments:,} segments at {sandbox.base_url}, with the key {sandbox.api_key}\n"
            "Ctrl-C stops it. To use it from another shell:\n\n"
            f"export BRAZE_BASE_URL={sandbox.base_url}\n"
            f"export BRAZE_API_KEY={sandbox.api_key}\n"
        )
        sys.stdout.flush()
        await asyncio.Event().wait()


def _run(work: Coroutine[Any, Any, None]) -> int:
    """Work to the end, or until Ctrl-C or SIGTERM; say what went wrong, and return the exit code."""

    async def stoppable() -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio.run made one
        with suppress(NotImplementedError):  # Windows ends the process instead
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await work

    try:
        asyncio.run(stoppable())
    except ConfigError as error:
        return _wrong(str(error))
    except BrokenPipeError:  # only standard output has a reader: it has read enough
        return 0
    except (BrazeError, OSError) as error:
        say(f"braze-segments: {error}")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
    return 0


def _wrong(problem: str) -> int:
    say(f"braze-segments: {problem}")
    return 2
