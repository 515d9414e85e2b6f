"""The host of the exported files: another origin than the API, as Braze's storage is, that knows no keys."""

import asyncio
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final

import attrs
from aiohttp import web

from . import _log as wire
from ._exports import Export, Exports
from ._faults import Answer, Endpoint, LoggedRequest
from ._zip_files import Archives

_CHUNK: Final = 2**18


@attrs.define
class FileHost:
    """Answers requests for the urls of exports as S3 answers those for presigned ones.

    aiohttp's `FileResponse` would do, but for resumed downloads: it reads no ETag in an If-Range.

    Attributes:
        exports: Whose urls are good.
        archives: What is behind them.
        injected: Gives the answer that a test has for a request.
        latency: Seconds before each answer.
        requests: Every request so far, in order of arrival.
    """

    exports: Exports
    archives: Archives
    injected: Callable[[LoggedRequest], Answer | None]
    latency: float
    requests: list[LoggedRequest] = attrs.field(factory=list, init=False)
    _ordinals: Counter[Endpoint] = attrs.field(factory=Counter, init=False)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        logged = await wire.arrival(request, "file", self._ordinals)
        self.requests.append(logged)
        place = len(self.requests) - 1
        answer, export = self._decide(logged)
        if (pause := self.latency + answer.delay) > 0:
            await asyncio.sleep(pause)
        if export is None:
            self.requests[place] = attrs.evolve(logged, status=answer.status)
            return wire.response(answer, {})
        path = await self.archives.path((export.segment_id, export.fields))
        response, part = _opened(request, path)
        wire.override(response, answer, len(part))
        self.requests[place] = attrs.evolve(logged, status=response.status)
        await response.prepare(request)
        for start in range(part.start, part.stop, _CHUNK):
            size = min(_CHUNK, part.stop - start)
            await response.write(await asyncio.to_thread(_read, path, start, size))
        return response

    def _decide(self, request: LoggedRequest) -> tuple[Answer, Export | None]:
        answer = self.injected(request) or Answer()
        if answer.body is None and answer.status == HTTPStatus.OK:
            export = self.exports.fetchable(request.path, request.query)
            if "Authorization" in request.headers:
                answer = attrs.evolve(answer, status=400)  # as S3 does: the url is signed already
            elif request.method != "GET" or export is None:
                answer = attrs.evolve(answer, status=403)
            else:
                return answer, export
        if answer.body is None:
            answer = attrs.evolve(answer, body=_error(answer.status), content_type="application/xml")
        return answer, None


def _opened(request: web.BaseRequest, path: Path) -> tuple[web.StreamResponse, range]:
    """Return the response to a request for a file, with nothing sent, and which of its bytes belong to it."""
    etag, part = f'"{path.stem}"', range(path.stat().st_size)
    size = len(part)
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/zip"}
    status = HTTPStatus.OK
    if request.headers.get("If-Match", etag) not in {etag, "*"}:
        status, part = HTTPStatus.PRECONDITION_FAILED, range(0)
    elif "Range" in request.headers and request.headers.get("If-Range", etag) == etag:
        part = _asked(request, part)
        status = HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        within = f"{part.start}-{part.stop - 1}" if part else "*"
        headers["Content-Range"] = f"bytes {within}/{size}"
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(part)
    return response, part


def _asked(request: web.BaseRequest, whole: range) -> range:
    try:
        return whole[request.http_range]
    except ValueError:  # it is no range, or it ends before it begins
        return range(0)


def _read(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)


def _error(status: int) -> str:
    code = "AccessDenied" if status == HTTPStatus.FORBIDDEN else HTTPStatus(status).phrase.replace(" ", "")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'
