"""ZIP files of users, a host for them, and exports whose file is ready."""

from __future__ import annotations

import asyncio
import io
import json
import re
import threading
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from raw_server import Exchange, head

from braze_segments_async._models import StartedExport
from braze_segments_async._text import Secret
from braze_segments_async._users.export import UsersExport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from raw_server import Fault

    from braze_segments_async import BrazeSegments
    from braze_segments_async.sandbox import Sandbox

SIGNATURE = "8d1fa27c90be4e5566f0a94be3"  # part of the URL that gives access to the users
QUERY = f"X-Amz-Signature={SIGNATURE}&X-Amz-Expires=14400"
PERSON = "ada.lovelace@private.example"  # in each user of `people`
URL_LIFETIME = 14_400.0  # seconds


def people(count: int) -> list[dict[str, Any]]:
    """Return users, each with an address that must not appear in any message."""
    return [{"external_id": f"u{number}", "email": PERSON, "number": number} for number in range(count)]


def packed(
    members: Iterable[bytes | Sequence[dict[str, Any]]], *, method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """Return a ZIP of files, each given as bytes or as the users in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for number, member in enumerate(members):
            text = member if isinstance(member, bytes) else b"".join(map(_line, member))
            archive.writestr(zipfile.ZipInfo(f"users-{number}.json"), text, method)
    return file.getvalue()


def _line(user: dict[str, Any]) -> bytes:
    return json.dumps(user, ensure_ascii=False).encode() + b"\n"


class FileHost:
    """A fault for `RawServer` that serves ranges of one file.

    Attributes:
        data: Content of the file.
        etag: ETag of the file.
        delay: Function that returns the seconds to delay a range, from its first byte.
        ranges: First and last byte of each requested range.
        max_concurrent: Highest number of concurrent requests.
    """

    def __init__(
        self, data: bytes, *, etag: str | None = '"1"', delay: Callable[[int], float] | None = None
    ) -> None:
        self.data = data
        self.etag = etag
        self.delay = delay
        self.ranges: list[tuple[int, int]] = []
        self.max_concurrent = 0
        self._concurrent = 0

    async def __call__(self, exchange: Exchange) -> None:
        """Send the response to a request."""
        self.ranges.append(self.requested_range(exchange))
        self._concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self._concurrent)
        if self.delay is not None:
            await asyncio.sleep(self.delay(self.ranges[-1][0]))
        self._concurrent -= 1
        await exchange.send(self.answer(exchange))

    def answer(self, exchange: Exchange, **headers: str) -> bytes:
        """Return the bytes of the response to a request."""
        first, last = self.requested_range(exchange)
        part = self.data[first : last + 1]
        fields = {
            "Content-Length": str(len(part)),
            "Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(self.data)}",
            **({"ETag": self.etag} if self.etag else {}),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return head(206, fields) + part

    @staticmethod
    def requested_range(exchange: Exchange) -> tuple[int, int]:
        """Return the first and last byte of the requested range."""
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", exchange.headers["range"])
        assert found is not None
        return int(found[1]), int(found[2])


def once_then(fault: Fault, then: Fault, *, when: Callable[[Exchange], bool] = lambda _: True) -> Fault:
    """Return a fault for the first matching request, and another for all other requests."""
    done = False

    async def first_or_then(exchange: Exchange) -> None:
        nonlocal done
        now = not done and when(exchange)
        done = done or now
        await (fault if now else then)(exchange)

    return first_or_then


def export_at(
    client: BrazeSegments,
    url: str | None,
    *,
    step: int | None = None,
) -> UsersExport:
    """Return an export whose file is at `url`; `step` is the number of bytes of each range."""
    export = UsersExport(
        "segment-1",
        StartedExport("prefix-1", None if url is None else Secret(url)),
        client._manager,
    )
    if step is not None:
        export._step = step
    return export


@contextmanager
def running_in_thread(sandbox: Sandbox) -> Iterator[Sandbox]:
    """Run a sandbox in a thread, so that a command can run in this one, without a slower process."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        runner.run(sandbox.__aenter__())
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield sandbox
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            runner.run(sandbox.__aexit__(None, None, None))


async def all_users(export: UsersExport) -> list[dict[str, Any]]:
    """Return all users of an export."""
    return [user async for user in export.users()]
