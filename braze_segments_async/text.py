"""Text that must not show itself, and foreign text made fit for a message."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Secret", "plain", "redact"]

_LONGEST = 200
_SHORTEST_PART = 4  # shorter ones would be found in any text


class Secret(str):
    """Text that does not show itself: a traceback with locals, or a header's repr, prints `'***'`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def plain(text: str, *, longest: int | None = _LONGEST) -> str:
    """Escape what could move a terminal's cursor, reorder a line or break a log record; cut what is long."""
    if longest is not None and len(text) > longest:
        text = f"{text[:longest]}…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def redact(text: str, secret: str) -> str:
    """Take the key out of a text the service sent: a 401 of Braze's has been seen to echo it.

    Whole, as a half, percent-encoded or in base64 (of something longer, too), in any letter case.
    """
    half = len(secret) // 2
    parts = [quote(secret, safe=""), quote(secret), secret[:half], secret[half:], *_in_base64(secret)]
    forms = [secret, *(part for part in parts if len(part) >= _SHORTEST_PART)]
    pattern = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.sub(pattern, "[API key]", text, flags=re.IGNORECASE)


def _in_base64(secret: str) -> Iterator[str]:
    """How a text looks inside the base64 of a longer one: one way for each offset in the groups of three."""
    for offset in range(3):
        encoded = b64encode(b"_" * offset + secret.encode()).decode().rstrip("=")
        mixed_with_what_follows = (offset + len(secret)) % 3 != 0
        yield encoded[(0, 2, 3)[offset] : -1 if mixed_with_what_follows else None]
