"""The ZIPs of exported users: each written once, in a thread, into a directory that is gone at the end."""

import asyncio
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from ._users import line

Contents = tuple[str, frozenset[str]]
"""What an archive holds: the segment whose users they are, and the fields of theirs that were asked for."""

_DIGEST_BYTES: Final = 16  # as many as an ETag of S3


class Archives:
    """ZIPs of JSON users, one user a line, `per_file` of them in each file but the last.

    The same contents are the same bytes, and are written once however often they are exported. Memory holds
    one user at a time, so that an archive may be as large as the disk.

    Args:
        users: How many users each segment has.
        per_file: How many of them are in one file.
        seed: Another seed is other users.
    """

    def __init__(self, users: int, per_file: int, seed: int) -> None:
        self._users = users
        self._per_file = per_file
        self._seed = seed
        self._directory: TemporaryDirectory[str] | None = None
        self._written: dict[Contents, asyncio.Future[Path]] = {}
        self._closing = Event()

    async def path(self, contents: Contents) -> Path:
        """Return where the archive is, when it is complete; its name changes with its contents."""
        if contents not in self._written:
            self._directory = self._directory or TemporaryDirectory(prefix="braze-sandbox-")
            path = Path(self._directory.name, f"{self._digest(*contents)}.zip")
            loop = asyncio.get_running_loop()
            self._written[contents] = loop.run_in_executor(None, self._write, path, *contents)
        # Others may wait for the same file when the one who asked first goes away.
        return await asyncio.shield(self._written[contents])

    async def close(self) -> None:
        """Stop what is being written, and remove all that was."""
        self._closing.set()
        await asyncio.gather(*self._written.values(), return_exceptions=True)
        self._closing.clear()
        self._written.clear()
        directory, self._directory = self._directory, None
        if directory is not None:
            await asyncio.to_thread(directory.cleanup)

    def _digest(self, segment_id: str, fields: frozenset[str]) -> str:
        told = (self._seed, self._users, self._per_file, segment_id, sorted(fields))
        return blake2b(repr(told).encode(), digest_size=_DIGEST_BYTES).hexdigest()

    def _write(self, path: Path, segment_id: str, fields: frozenset[str]) -> Path:
        with ZipFile(path, "w") as archive:
            for start in range(0, self._users, self._per_file):
                entry = ZipInfo(f"users-{start // self._per_file:05}.json")  # dated 1980: the same bytes
                entry.compress_type = ZIP_DEFLATED
                with archive.open(entry, "w") as file:
                    for index in range(start, min(start + self._per_file, self._users)):
                        if self._closing.is_set():
                            return path
                        file.write(line(self._seed, segment_id, index, fields))
        return path
