"""Find the test key, in any encoding, in output of the package."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote

from fault_client import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

HALF = len(KEY) // 2


def _forms() -> set[str]:
    """Return the key whole, in halves, percent-encoded, and in base64 of any alignment."""
    forms = {KEY, KEY[:HALF], KEY[HALF:], quote(KEY), quote(KEY, safe="")}
    for offset in range(3):
        coded = b64encode(b"_" * offset + KEY.encode()).decode().rstrip("=")
        forms.add(coded[4 if offset else 0 : -1])
    return {form.lower() for form in forms}


FORMS = _forms()


def leaks(text: str) -> list[str]:
    """Return the forms of the key that a text contains."""
    return [form for form in FORMS if form in text.lower()]


def exception_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, its causes and contexts, and the members of groups."""
    found: dict[int, BaseException] = {}
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None and id(one) not in found:
            found[id(one)] = one
            todo += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    yield from found.values()
