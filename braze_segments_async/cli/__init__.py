"""The command `braze-segments`. It needs the extra `cli`, and says so where that is missing."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    try:
        from .app import app  # noqa: PLC0415 - the extra may not be installed

        app()
    except ModuleNotFoundError as error:
        if error.name not in {"cyclopts", "rich"}:
            raise
        sys.exit('braze-segments: the command needs an extra: pip install "braze-segments-async[cli]"')
    except KeyboardInterrupt:  # between two lines of ours, before or after the work
        sys.exit(130)
