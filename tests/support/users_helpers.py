"""What the tests of users exports share: a ZIP, a host for it, and an export that is said to be there."""

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

SIGNATURE = "8d1fa27c90be4e5566f0a94be3"  # of the url: who knows it can read the users
QUERY = f"X-Amz-Signature={SIGNATURE}&X-Amz-Expires=14400"
PERSON = "ada.lovelace@private.example"  # in each user of `people`
LIFE = 14_400.0


def people(count: int) -> list[dict[str, Any]]:
    """Users, with a text in each that must not turn up anywhere."""
    return [{"external_id": f"u{number}", "email": PERSON, "number": number} for number in range(count)]


def packed(
    members: Iterable[bytes | Sequence[dict[str, Any]]], *, method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """A ZIP of files, each given as bytes or as the users in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for number, member in enumerate(members):
            text = member if isinstance(member, bytes) else b"".join(map(_line, member))
            archive.writestr(zipfile.ZipInfo(f"users-{number}.json"), text, method)
    return file.getvalue()


def _line(user: dict[str, Any]) -> bytes:
    return json.dumps(user, ensure_ascii=False).encode() + b"\n"


class FileHost:
    """A host of one file that does ranges, for `Faulty`.

    Attributes:
        data: the file.
        etag: its name.
        late: seconds that the range which begins at a byte takes.
        ranges: what was asked for, first and last byte.
        peak: how many requests were under way at once, at most.
    """

    def __init__(
        self, data: bytes, *, etag: str | None = '"1"', late: Callable[[int], float] | None = None
    ) -> None:
        self.data = data
        self.etag = etag
        self.late = late
        self.ranges: list[tuple[int, int]] = []
        self.peak = 0
        self._now = 0

    async def __call__(self, exchange: Exchange) -> None:
        """Answer a request."""
        self.ranges.append(self.asked(exchange))
        self._now += 1
        self.peak = max(self.peak, self._now)
        if self.late is not None:
            await asyncio.sleep(self.late(self.ranges[-1][0]))
        self._now -= 1
        await exchange.send(self.answer(exchange))

    def answer(self, exchange: Exchange, **headers: str) -> bytes:
        """The bytes of the answer to a request."""
        first, last = self.asked(exchange)
        part = self.data[first : last + 1]
        told = {
            "Content-Length": str(len(part)),
            "Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(self.data)}",
            **({"ETag": self.etag} if self.etag else {}),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return head(206, told) + part

    @staticmethod
    def asked(exchange: Exchange) -> tuple[int, int]:
        """The range a request asks for."""
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", exchange.headers["range"])
        assert found is not None
        return int(found[1]), int(found[2])


def once(fault: Fault, then: Fault, *, when: Callable[[Exchange], bool] = lambda _: True) -> Fault:
    """A fault for the first request of a kind, and another for all the rest."""
    done = False

    async def either(exchange: Exchange) -> None:
        nonlocal done
        now = not done and when(exchange)
        done = done or now
        await (fault if now else then)(exchange)

    return either


def export_at(
    client: BrazeSegments,
    url: str | None,
    *,
    step: int | None = None,
) -> UsersExport:
    """An export of users that Braze says are at a url; `step` is how many bytes are asked for at a time."""
    export = UsersExport(
        "segment-1",
        StartedExport("prefix-1", None if url is None else Secret(url)),
        client._manager,
    )
    if step is not None:
        export._step = step
    return export


@contextmanager
def beside(sandbox: Sandbox) -> Iterator[Sandbox]:
    """A sandbox in a thread, so that the command can have the loop of this one: processes take their time."""
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
    """What an export has."""
    return [user async for user in export.users()]
