"""aioresponses with aiohttp 3.14 and newer. Made for aioresponses 0.7.9; not needed before aiohttp 3.14.

aiohttp's `ClientResponse` has a required argument `stream_writer` since 3.14, which aioresponses does not
pass (https://github.com/pnuckowski/aioresponses). Copy this file into your own tests if you need it.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from aiohttp import ClientResponse
from aioresponses import aioresponses
from aioresponses.core import RequestMatch
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["mocked"]


class _Response(ClientResponse):
    """A response without a writer of the request body."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        writer: Any = SimpleNamespace(output_size=0)
        super().__init__(*args, stream_writer=writer, **kwargs)


def _is_needed() -> bool:
    return "stream_writer" in inspect.signature(ClientResponse.__init__).parameters


def _works_unpatched() -> bool:
    url = URL("https://rest.example")
    try:
        RequestMatch(url)._build_response(url).close()
    except TypeError as error:
        if "stream_writer" in str(error):
            return False
        raise
    return True


@contextmanager
def mocked() -> Iterator[aioresponses]:
    """Yield `aioresponses()`, patched for this version of aiohttp.

    Raises:
        RuntimeError: aioresponses supports this version of aiohttp, so this file is not needed.
    """
    if not _is_needed():
        with aioresponses() as mock:  # aiohttp before 3.14
            yield mock
        return
    if _works_unpatched():
        raise RuntimeError(
            "aioresponses works with this aiohttp by itself: delete tests/aioresponses_shim.py"
        )
    with patch("aioresponses.core.ClientResponse", _Response), aioresponses() as mock:
        yield mock
