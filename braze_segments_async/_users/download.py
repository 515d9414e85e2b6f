"""Download a users file in byte ranges, from a host that is not Braze's and must not get the API key."""

from __future__ import annotations

import re
from asyncio import CancelledError
from typing import TYPE_CHECKING

from attrs import field, frozen

from braze_segments_async._arguments import secure_url
from braze_segments_async._http import RETRYABLE_STATUS_MESSAGES, Endpoint, Request, parse_retry_after
from braze_segments_async.errors import (
    BrazeError,
    ExportExpiredError,
    NotFoundError,
    PermissionDeniedError,
    RedirectError,
    ReplyError,
    ServerError,
    StatusError,
)

if TYPE_CHECKING:
    from yarl import URL

    from braze_segments_async._http import Response, SessionManager
    from braze_segments_async._text import Secret

__all__ = ["USERS_FILE", "FileDownloader", "RangeResponse"]

USERS_FILE = Endpoint("GET", "the file of a users export", "")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


@frozen
class RangeResponse:
    """The response to a byte-range request.

    Attributes:
        body: The bytes.
        total: Bytes of the whole file.
        etag: Name of this version of the file; empty if the host gives none.
    """

    body: bytes = field(repr=False)
    total: int
    etag: str


class FileDownloader:
    """Fetches ranges of one file, with the timeouts and retries of a client, but without its rate limit."""

    def __init__(self, manager: SessionManager, url: Secret, segment_id: str) -> None:
        """Send nothing yet.

        Args:
            manager: The session manager of the client.
            url: Presigned URL of the file, which gives access to the users.
            segment_id: The segment, for messages.
        """
        self._manager = manager
        self._url = url
        self._segment_id = segment_id

    def check_url(self) -> URL:
        """Return the URL as one that can be requested.

        Raises:
            ReplyError: It is not a valid URL, or not https.
        """
        url = secure_url(self._url)
        if url is None:
            raise ReplyError("the url of the file is not one of https", path="$.url")
        return url

    async def fetch(self, first: int, last: int, *, retried: bool = True) -> RangeResponse:
        """Fetch the bytes from `first` to `last`, both included, or to the end of the file.

        Args:
            first: Index of the first byte.
            last: Index of the last byte.
            retried: Whether a failed attempt is repeated.

        Raises:
            PermissionDeniedError: The file does not exist yet, or has been deleted.
            NotFoundError: The same, from other hosts.
            BrazeError: Any other failure.
        """

        async def attempt(request: Request[RangeResponse]) -> RangeResponse:
            failure: BaseException
            try:
                transport = self._manager.file_transport()
                headers = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
                return request.decode(await transport.send("GET", self.check_url(), {}, headers=headers))
            except BrazeError as error:
                error.attempts = 1
                if isinstance(error, StatusError):
                    error.from_braze = False
                failure = error.about(str(USERS_FILE), segment_id=self._segment_id)
            except CancelledError as error:
                failure = error
            # Without the frames below: their locals hold the url, which is a secret, and users.
            raise failure.with_traceback(None)

        request = Request(
            USERS_FILE, {}, lambda response: _parse(response, first, last), segment_id=self._segment_id
        )
        return await self._manager.send(request, attempt=attempt, retried=retried)


def _parse(response: Response, first: int, last: int) -> RangeResponse:
    status, body, etag = response.status, response.body, response.headers.get("ETag", "")
    if status == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        start, end, total = map(int, found.groups()) if found else (0, 0, 0)
        if (start, end) != (first, min(last, total - 1)) or len(body) != end - start + 1:
            raise ReplyError("not the range of bytes that was asked for", retryable=True)
        return RangeResponse(body, total, etag)
    if status == 200 and not first:  # the host has no byte ranges, and the file is small
        return RangeResponse(body, len(body), etag)
    if status == 200:
        raise ReplyError("the whole file where a part of it was asked for", retryable=True)
    if b"<Code>ExpiredToken</Code>" in body:  # S3, about the url's signature; its status is not documented
        raise ExportExpiredError("the url of the file has expired; export the users again")
    if 300 <= status < 400:
        raise RedirectError("a redirect, not followed", status=status)
    if status in RETRYABLE_STATUS_MESSAGES or status >= 500 or status == 429:
        wait = parse_retry_after(response.headers, response.sent_at, reset=False)
        raise ServerError("the host of the file is busy", status=status, retryable=True, retry_after=wait)
    kind = {403: PermissionDeniedError, 404: NotFoundError}.get(status, StatusError)
    raise kind("the host of the file refuses it", status=status)
