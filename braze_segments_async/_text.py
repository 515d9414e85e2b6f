"""Text that must not be shown, text of others made safe to show, and the logger."""

from __future__ import annotations

import logging
import re
from base64 import b64encode, urlsafe_b64encode
from html import unescape
from typing import NoReturn
from urllib.parse import unquote

__all__ = ["Secret", "contains_part", "escape_control", "logger"]

logger = logging.getLogger("braze_segments_async")  # silent until the application configures logging
logger.addHandler(logging.NullHandler())

_LONGEST = 200
_PART = 6  # characters of the key in a row that no message may show
_MAX_DECODINGS = 10
_NOT_PRINTED = re.compile(r"[^ -~]")
_NOT_HEX = re.compile(r"u00|0x|[^0-9a-f]")  # also the prefixes of \u005a and 0x5a


class Secret(str):
    """Text that does not show itself: a traceback with locals, or a header's repr, prints `'***'`.

    It cannot be pickled, so that no file, queue or worker gets it by accident; `str(secret)` can.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a secret, such as an API key, cannot be pickled: send the name of its environment variable or "
            "the path of its file instead, and read it where it is used"
        )

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self


def escape_control(text: str, *, longest: int | None = _LONGEST) -> str:
    """Escape what could move a terminal's cursor, reorder a line or break a log record; cut what is long."""
    if longest is not None and len(text) > longest:
        text = f"{text[:longest]}…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def contains_part(text: str, secret: str) -> bool:
    """Return whether a text contains six characters in a row of the key, or all of a shorter key.

    Letter case, dashes and unprintable characters make no difference. Found are the characters as they are,
    percent-encoded or HTML-encoded (several times, and both), and the hex or base64 form of the key or of a
    longer text around it. A text that is still encoded after ten rounds of decoding counts as one that
    contains part of the key.
    """
    # A text can share six characters with the key by chance: two random UUIDs, such as a segment id and a
    # key, do so in 1 of about 2,000 cases ("-4abc-" has three digits by chance). Then a message is withheld
    # without need; the error says which segment it is about all the same.
    texts = [text]
    for _ in range(_MAX_DECODINGS):
        # Both stages are looked at: the second one may decode what looks encoded in the key itself.
        unquoted = unquote(texts[-1])
        decoded = unescape(unquoted)
        if decoded == texts[-1]:
            break
        texts += [unquoted, decoded]
    else:
        return True
    parts = _parts(secret) | _parts(secret.replace("-", ""))
    in_hex = {part.encode().hex() for part in parts}
    readable = {form.lower() for part in parts for form in (part, *_in_base64(part))}
    for lower in map(str.lower, texts):
        printed = _NOT_PRINTED.sub("", lower)
        if any(form in view for view in (printed, printed.replace("-", "")) for form in readable):
            return True
        digits = _NOT_HEX.sub("", lower)
        if any(form in digits for form in in_hex):
            return True
    return False


def _parts(secret: str) -> set[str]:
    size = min(_PART, len(secret))
    return {secret[start : start + size] for start in range(len(secret) - size + 1)} - {""}


def _in_base64(part: str) -> set[str]:
    """Return how a part looks in the base64 of a longer text, at each offset in the groups of three bytes.

    Only the characters that the part alone decides: those that also hold bits of its neighbours are left out.
    """
    forms = set()
    for offset in range(3):
        first, end = -(-offset * 4 // 3), (offset + len(part)) * 4 // 3
        for encode in (b64encode, urlsafe_b64encode):
            forms.add(encode(b"_" * offset + part.encode())[first:end].decode())
    return forms
