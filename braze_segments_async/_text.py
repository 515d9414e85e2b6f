"""Secrets, escaping of untrusted text, and the logger."""

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

_MAX_LENGTH = 200
_PART = 6  # consecutive characters of the key that no message may contain
_MAX_DECODINGS = 10
_NOT_PRINTED = re.compile(r"[^ -~]")
_NOT_HEX = re.compile(r"u00|0x|[^0-9a-f]")  # also the prefixes of \u005a and 0x5a


class Secret(str):
    """A string whose repr is `'***'`, as in a traceback with locals or in the repr of headers.

    It cannot be pickled, so that no file, queue or worker gets it by accident. `str(secret)` can be pickled.
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


def escape_control(text: str, *, max_length: int | None = _MAX_LENGTH) -> str:
    """Escape characters that can move a cursor, reorder a line or break a log record; truncate long text."""
    if max_length is not None and len(text) > max_length:
        text = f"{text[:max_length]}…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def contains_part(text: str, secret: str) -> bool:
    """Return whether a text contains six consecutive characters of the key, or all of a shorter key.

    Letter case, dashes and unprintable characters are ignored. The characters are found as plain text,
    percent-encoded or HTML-encoded (several times, and both), and in the hex or base64 form of the key or of
    a longer text around it. The result is also true for a text that is still encoded after ten rounds of
    decoding.
    """
    # A text can share six characters with the key by chance: two random UUIDs, such as a segment id and a
    # key, do so in 1 of about 2,000 cases ("-4abc-" has three random digits). The message is then withheld
    # without need, but the error still names the segment.
    texts = [text]
    for _ in range(_MAX_DECODINGS):
        # Search both stages: the second one can also decode characters of the key that look encoded.
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
    """Return the forms that a part has in the base64 of a longer text, one per offset modulo three bytes.

    Each form has only the base64 characters that depend on the part alone, and not on its neighbours.
    """
    forms = set()
    for offset in range(3):
        first, end = -(-offset * 4 // 3), (offset + len(part)) * 4 // 3
        for encode in (b64encode, urlsafe_b64encode):
            forms.add(encode(b"_" * offset + part.encode())[first:end].decode())
    return forms
