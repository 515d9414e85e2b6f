"""Work, run to its end, and the exit code of each way it can end."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from braze_segments_async.errors import BrazeError, ConfigError, RateLimitedError

from .progress import print_err

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

__all__ = ["OPTIONS", "RATE_LIMITED", "run", "usage_error"]

RATE_LIMITED = 4  # exit code: the next request would be allowed after --max-wait only
# The options of the command, by the arguments of the library; see `BrazeError.message`.
OPTIONS = {
    "allow_partial=True": "--allow-partial",
    "base_url": "--base-url",
    "cancel_exports()": "braze-segments cancel",
    "concurrency": "--concurrency",
    "csv_safe": "--csv-safe",
    "destination": "--output",
    "format": "--format",
    "format=": "--format",
    "max_rate_limit_wait": "--max-wait",
    "overwrite=True": "--overwrite",
    "resume=True": "--resume",
    "resume_within": "--resume-within",
    "retry.max_rate_limit_wait": "--max-wait",
    "sizes": "--sizes",
}


def run(
    work: Coroutine[Any, Any, int | None],
    interrupted: Callable[[], str] = str,
    names: Mapping[str, str] = OPTIONS,
) -> int:
    """Work to the end, or until Ctrl-C or SIGTERM; say what went wrong, and return the exit code.

    Args:
        work: returns the exit code; nothing means 0.
        interrupted: what to say besides if it did not come to its end.
        names: for messages; see `OPTIONS`.
    """

    async def stoppable() -> int:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio.run made one
        with suppress(NotImplementedError):  # Windows ends the process instead
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work or 0

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(stoppable())
    except ConfigError as error:
        return usage_error(error.message(names))
    except BrokenPipeError:  # only standard output has a reader: it has read enough
        return 0
    except (BrazeError, OSError) as error:
        code = RATE_LIMITED if isinstance(error, RateLimitedError) else 1
        text = error.message(names) if isinstance(error, BrazeError) else str(error)
        print_err(f"braze-segments: {text}")
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except asyncio.CancelledError:
        code = 128 + signal.SIGTERM
    if hint := interrupted():
        print_err(f"braze-segments: {hint}")
    return code


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where the extra `speed` has installed it: a fifth less CPU for each request."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def usage_error(problem: str) -> int:
    """Print what is wrong with the options, and return the exit code for that."""
    print_err(f"braze-segments: {problem}")
    return 2
