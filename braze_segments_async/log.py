"""The library's one logger, silent until the application configures logging."""

from __future__ import annotations

import logging

__all__ = ["logger"]

logger = logging.getLogger("braze_segments_async")
logger.addHandler(logging.NullHandler())
