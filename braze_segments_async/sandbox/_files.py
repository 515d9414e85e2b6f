"""The host of the exported files, and the ZIP files that it serves.

It is another origin than the API and accepts no API key, as Braze's storage.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from hashlib import blake2b
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import attrs
from aiohttp import web

from ._exports import Export, Exports
from ._faults import Answer, LoggedRequest, RequestLog, build_response
from ._users import encode_user

_CHUNK: Final = 2**18
_DIGEST_BYTES: Final = 16  # as many as an ETag of S3

_Contents = tuple[str, frozenset[str], frozenset[str] | None]  # segment, fields, custom attributes


class ZipFiles:
    """ZIP files of exported users: members of `per_file` JSON lines, one user a line.

    Equal contents are equal bytes, and are written once however often they are exported, in a thread, to a
    temporary directory. Memory holds one user at a time, so that a file may be as large as the disk.
    """

    def __init__(self, users: int, per_file: int, seed: int) -> None:
        """Prepare to write ZIP files.

        Args:
            users: Number of users of each segment.
            per_file: Number of users in each member but the last.
            seed: Seed of the users.
        """
        self._users = users
        self._per_file = per_file
        self._seed = seed
        self._directory: TemporaryDirectory[str] | None = None
        self._written: dict[_Contents, asyncio.Future[Path]] = {}
        self._closing = Event()

    async def path(self, export: Export) -> Path:
        """Return the path of the complete ZIP file of an export; its name is a digest of its contents."""
        contents = (export.segment_id, export.fields, export.attributes)
        if contents not in self._written:
            self._directory = self._directory or TemporaryDirectory(prefix="braze-sandbox-")
            path = Path(self._directory.name, f"{self._digest(*contents)}.zip")
            loop = asyncio.get_running_loop()
            self._written[contents] = loop.run_in_executor(None, self._write, path, *contents)
        # Other requests may wait for the same file when the first client disconnects.
        return await asyncio.shield(self._written[contents])

    async def close(self) -> None:
        """Stop all writing, and remove the directory."""
        self._closing.set()
        await asyncio.gather(*self._written.values(), return_exceptions=True)
        self._closing.clear()
        self._written.clear()
        directory, self._directory = self._directory, None
        if directory is not None:
            await asyncio.to_thread(directory.cleanup)

    def _digest(self, segment_id: str, fields: frozenset[str], attributes: frozenset[str] | None) -> str:
        chosen = None if attributes is None else sorted(attributes)
        contents = (self._seed, self._users, self._per_file, segment_id, sorted(fields), chosen)
        return blake2b(repr(contents).encode(), digest_size=_DIGEST_BYTES).hexdigest()

    def _write(
        self, path: Path, segment_id: str, fields: frozenset[str], attributes: frozenset[str] | None
    ) -> Path:
        with ZipFile(path, "w") as archive:
            for start in range(0, self._users, self._per_file):
                entry = ZipInfo(
                    f"users-{start // self._per_file:05}.json"
                )  # dated 1980: equal bytes each time
                entry.compress_type = ZIP_DEFLATED
                with archive.open(entry, "w") as file:
                    for index in range(start, min(start + self._per_file, self._users)):
                        if self._closing.is_set():
                            return path
                        file.write(encode_user(self._seed, segment_id, index, fields, attributes))
        return path


@attrs.define
class FileHost:
    """The server of exported files, which answers presigned URLs as S3 does.

    aiohttp's `FileResponse` is not used because it ignores an ETag in `If-Range`, so it cannot resume a
    download.

    Attributes:
        exports: Exports whose URLs are valid.
        zip_files: Files of the exports.
        injected: Function that returns the injected answer to a request, if any.
        latency: Seconds before each response.
        log: Log of the requests.
    """

    exports: Exports
    zip_files: ZipFiles
    injected: Callable[[LoggedRequest], Answer | None]
    latency: float
    log: RequestLog

    async def serve(self, request: web.BaseRequest) -> web.Response:
        """Answer a request."""
        index = await self.log.log_request(request, "file")
        answer, export = self._decide(self.log.requests[index])
        if (delay := self.latency + answer.delay) > 0:
            await asyncio.sleep(delay)
        if export is None:
            body = answer.encoded()
            response = build_response(answer, {"Content-Type": answer.content_type}, body, len(body))
        else:
            path = await self.zip_files.path(export)
            response = _file_response(request, path, answer)
        self.log.set_status(index, response.status)
        return response

    def _decide(self, request: LoggedRequest) -> tuple[Answer, Export | None]:
        """Return the answer, and the export whose file is its body if there is one."""
        answer = self.injected(request) or Answer()
        if answer.body is None and answer.status == HTTPStatus.OK:
            export = self.exports.find_available(request.path, request.query)
            if "Authorization" in request.headers:
                answer = attrs.evolve(answer, status=400)  # as S3: the URL is signed already
            elif request.method != "GET" or export is None:
                answer = attrs.evolve(answer, status=403)
            else:
                return answer, export
        if answer.body is None:
            answer = attrs.evolve(answer, body=_error(answer.status), content_type="application/xml")
        return answer, None


def _file_response(request: web.BaseRequest, path: Path, answer: Answer) -> web.Response:
    """Return the response with a file, or with the range of it that the request asks for."""
    etag, size = f'"{path.stem}"', path.stat().st_size
    part = range(size)
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/zip"}
    status = HTTPStatus.OK
    if request.headers.get("If-Match", etag) not in {etag, "*"}:
        status, part = HTTPStatus.PRECONDITION_FAILED, range(0)
    elif "Range" in request.headers and request.headers.get("If-Range", etag) == etag:
        try:
            part = part[request.http_range]
        except ValueError:  # not a range, or it ends before it begins
            part = range(0)
        status = HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        content = f"{part.start}-{part.stop - 1}" if part else "*"
        headers["Content-Range"] = f"bytes {content}/{size}"
    headers["Content-Length"] = str(len(part))
    return build_response(answer, headers, _read(path, part), len(part), status)


async def _read(path: Path, part: range) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(part.start)
        for start in range(part.start, part.stop, _CHUNK):
            yield await asyncio.to_thread(file.read, min(_CHUNK, part.stop - start))


def _error(status: int) -> str:
    code = "AccessDenied" if status == HTTPStatus.FORBIDDEN else HTTPStatus(status).phrase.replace(" ", "")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'
