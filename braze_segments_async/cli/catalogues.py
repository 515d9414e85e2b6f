"""Exported files as arguments of a command, and text about them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from braze_segments_async._text import escape_control

from .ids import standard_input

if TYPE_CHECKING:
    from braze_segments_async.catalogue import Catalogue

__all__ = ["age", "markdown", "open_catalogue"]


def open_catalogue(path: Path) -> Catalogue:
    """Read an exported file; `-` is NDJSON or CSV on standard input.

    Raises:
        ConfigError: It cannot be read, or is not an export.
    """
    from braze_segments_async.catalogue import Catalogue, read_catalogue  # noqa: PLC0415 - --help does without

    if path != Path("-"):
        return read_catalogue(path)
    from braze_segments_async.catalogue._rows import read_text  # noqa: PLC0415 - as above

    standard_input()
    return Catalogue(segments=read_text(sys.stdin.buffer, "standard input"))


def age(catalogue: Catalogue) -> str:
    """Return the name of the file, how old its data is, and whether it is partial."""
    name = "standard input" if catalogue.path is None else escape_control(str(catalogue.path))
    moment = catalogue.exported_at
    verb = "last modified" if catalogue.provenance is None else "exported"
    when = "" if moment is None else f", {verb} {moment:%Y-%m-%d %H:%M} UTC"
    if not catalogue.partial:
        return f"{name}{when}"
    failed = len(catalogue.failed) + catalogue.unlisted_failures
    return f"{name}{when}, is partial: {failed:,} segment{'s' if failed > 1 else ''} could not be fetched"


def markdown(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#!|~&@])", r"\\\1", escape_control(text, max_length=None))
