"""The command `braze-segments`. Without the extra `cli`, it prints how to install it."""

from __future__ import annotations

import gc
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command given by the arguments, and exit with its code."""
    try:
        from .app import app  # noqa: PLC0415 - the extra may not be installed

        app()
    except ModuleNotFoundError as error:
        if error.name not in {"cyclopts", "platformdirs", "rich"}:
            raise
        sys.exit('braze-segments: the command needs an extra: pip install "braze-segments-async[cli]"')
    except KeyboardInterrupt:  # before or after `run`, which handles it
        sys.exit(130)
    finally:
        gc.freeze()  # else the interpreter searches all objects for cycles when it ends: 0.1 s
