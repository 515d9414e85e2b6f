"""The number of workspaces to export at the same time, from the limit of open files."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from braze_segments_async._arguments import check_integer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._config import WorkspaceConfig

if sys.platform != "win32":
    import resource

__all__ = ["parallel_exports"]

_FILES = 8  # descriptors of one export beside its connections: lock, journal, file, database
_RESERVED = 128  # for the rest of the process, name resolution, and second attempts to connect


def parallel_exports(configs: Sequence[WorkspaceConfig], parallel: int | None) -> int:
    """Return how many exports may run at the same time.

    Raise the soft limit of open files as far as the exports need and the system allows: most systems start a
    process with 1,024, and allow many more.

    Args:
        configs: The workspaces.
        parallel: The number that the caller wants; `None` for all that the limit of open files allows.

    Raises:
        ConfigError: `parallel` is not a positive integer.
    """
    if parallel is not None:
        check_integer("parallel", parallel, at_least=1)
    wanted = min(len(configs), parallel or len(configs))
    if not wanted:
        return 1
    each = max(config.options.concurrency for config in configs) + _FILES
    limit = _open_files(_RESERVED + wanted * each)
    if parallel is not None or limit is None:
        return wanted
    return max(1, min(wanted, (limit - _RESERVED) // each))


def _open_files(needed: int) -> int | None:
    """Return the number of files that may be open, raised if necessary; `None` if there is no limit."""
    if sys.platform == "win32":
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    if soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with suppress(OSError, ValueError):  # the system may have a lower limit than the hard one, as macOS
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
    return soft
