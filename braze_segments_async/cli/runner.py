"""Run the work of a command, and return its exit code."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from braze_segments_async.errors import (
    AuthenticationError,
    BrazeError,
    ConfigError,
    PermissionDeniedError,
    RateLimitedError,
)

from .progress import print_err

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

__all__ = ["NOT_ALLOWED", "OPTIONS", "PARTIAL", "RATE_LIMITED", "error_code", "run", "usage_error"]

PARTIAL = 3  # exit code: some segments could not be fetched
RATE_LIMITED = 4  # exit code: the wait for the rate limit is longer than --max-wait
NOT_ALLOWED = 5  # exit code: the key is refused or lacks a permission, so that a retry cannot help
# The options of the command, by the arguments of the library; see `BrazeError.message`.
OPTIONS = {
    "allow_partial=True": "--allow-partial",
    "base_url": "--base-url",
    "cancel_exports()": "braze-segments cancel",
    "concurrency": "--concurrency",
    "csv_safe": "--csv-safe",
    "excel": "--excel",
    "destination": "--output",
    "format": "--format",
    "format=": "--format",
    "max_rate_limit_wait": "--max-wait",
    "overwrite=True": "--overwrite",
    "proxy": "--proxy",
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
    """Run until the end, Ctrl-C or SIGTERM; print an error in one line, and return the exit code.

    Args:
        work: Returns the exit code; `None` means 0.
        interrupted: Returns a hint to print if the work did not finish.
        names: Names for the arguments in messages; see `OPTIONS`.
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
    except BrokenPipeError:  # only standard output has a reader, and it has stopped reading
        return 0
    except (BrazeError, OSError) as error:
        code = error_code(error)
        text = error.message(names) if isinstance(error, BrazeError) else str(error)
        print_err(f"braze-segments: {text}")
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except asyncio.CancelledError:
        code = 128 + signal.SIGTERM
    if hint := interrupted():
        print_err(f"braze-segments: {hint}")
    return code


def error_code(error: Exception | None) -> int:
    """Return the exit code for an error other than a `ConfigError`."""
    if isinstance(error, RateLimitedError):
        return RATE_LIMITED
    return NOT_ALLOWED if isinstance(error, AuthenticationError | PermissionDeniedError) else 1


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of uvloop, if the extra `speed` is installed: 20 % less CPU for each request."""
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
