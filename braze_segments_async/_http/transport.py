"""The wire: owns the session, sends one request, reads the whole body. aiohttp lives here."""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import time
from typing import TYPE_CHECKING, Any

import aiohttp

from braze_segments_async._arguments import is_loopback, is_public_address, is_public_host
from braze_segments_async._instances import nearest
from braze_segments_async._text import Secret, escape_control
from braze_segments_async._version import __version__
from braze_segments_async.errors import (
    BrazeError,
    ClosedError,
    ConfigError,
    ReplyError,
    TimedOutError,
    TransportError,
)

from .compression import inflate, too_large
from .headers import parse_rate_limit, sent_at
from .responses import Response
from .timeouts import TimeoutWatchdog

if TYPE_CHECKING:
    from yarl import URL

    from braze_segments_async._settings import Limits

    from .endpoints import ByteRange, Request
    from .timeouts import Attempt

__all__ = ["Transport"]

_USER_AGENT = (
    f"braze-segments-async/{__version__} Python/{platform.python_version()} aiohttp/{aiohttp.__version__}"
)
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ValueError)
_SESSION_CLOSED = "the session is closed; open a new client, with an open session if it is your own"


class Transport:
    """One client's way to Braze, tied to the event loop it was opened in.

    Attributes:
        received: bytes of bodies, as they came.
    """

    def __init__(
        self,
        base_url: URL,
        api_key: Secret,
        *,
        timeout: float,
        limits: Limits,
        session: aiohttp.ClientSession | None,
    ) -> None:
        """See the class; nothing is opened yet.

        Args:
            base_url: checked and normalised.
            api_key: goes into the Authorization header, and nowhere else.
            timeout: seconds for one attempt, body included.
            limits: the other bounds.
            session: the caller's own, which is never closed here; `None` to own one.
        """
        self._base_url = base_url
        self._is_local = is_loopback(base_url.host or "")  # so is the host of its users files
        self._limits = limits
        self._total = timeout
        self.received = 0
        self._headers = {
            "Authorization": Secret(f"Bearer {api_key}"),
            "User-Agent": _USER_AGENT,
            "Accept": "application/json",
            "Accept-Encoding": "gzip",  # what inflate() can bound
        }
        self._given = session
        self._session: aiohttp.ClientSession | None = None
        self._files: aiohttp.ClientSession | None = None  # for other hosts: without the key
        self._loop: asyncio.AbstractEventLoop | None = None
        self._options: dict[str, Any] = {}
        self._urls: dict[str, URL] = {}

    def open(self) -> None:
        """Make the session, inside the running loop.

        Raises:
            ConfigError: the caller's session cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        self._timeouts = TimeoutWatchdog(total=self._total, read_timeout=self._limits.read_timeout)
        if self._given is None:
            self._session = self._new_session(self._headers, _Connector(self._timeouts))
            return
        if self._given.auth is not None or "Authorization" in self._given.headers:
            raise ConfigError("session has an auth of its own, in the place of the API key; leave it out")
        self._session, self._options = self._given, {"headers": self._headers, **self._own_options()}

    def _new_session(
        self, headers: dict[str, str], connector: aiohttp.BaseConnector | None, **more: Any
    ) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers=headers,
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            **self._own_options(),
            **more,
        )

    def _new_files_session(self) -> aiohttp.ClientSession:
        headers = {"User-Agent": _USER_AGENT}
        given = self._given
        if given is None:
            resolver = None if self._is_local else _PublicResolver()
            return self._new_session(headers, _Connector(self._timeouts, resolver))
        # The caller's connections, proxy and traces, but not their headers and cookies: those are for Braze.
        return self._new_session(
            headers,
            given.connector,
            connector_owner=False,
            trust_env=given.trust_env,
            trace_configs=given.trace_configs,
            proxy=getattr(given, "_default_proxy", None),  # aiohttp has no public name for it
            proxy_auth=getattr(given, "_default_proxy_auth", None),
        )

    def _own_options(self) -> dict[str, Any]:
        connect, read_timeout = self._limits.connect, self._limits.read_timeout
        # Our connector reports when a connection is ready; for a caller's session aiohttp does it (slower).
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect, sock_read=None if self._given is None else read_timeout
        )
        return {
            "timeout": timeout,
            "auto_decompress": False,
            "raise_for_status": False,  # statuses are judged here, whatever the caller's session does
        }

    async def aclose(self) -> None:
        """Close the sessions that are ours."""
        self._timeouts.aclose()
        session, files, self._session, self._files = self._session, self._files, None, None
        try:
            if files is not None:
                await files.close()
        finally:  # when that is interrupted, too
            if session is not None and session is not self._given:
                await session.close()

    def check(self, loop: asyncio.AbstractEventLoop) -> None:
        """Refuse another event loop, and a session that was closed.

        Raises:
            ClosedError: in either case.
        """
        if loop is not self._loop:
            raise ClosedError("this client was opened in another event loop; open one in each loop")
        if self._session is None or self._session.closed:
            raise ClosedError(_SESSION_CLOSED)

    async def send(self, request: Request[Any]) -> Response:
        """Send one request, once, and read the whole answer.

        aiohttp itself sends a GET a second time if the connection drops before an answer, as a kept-alive
        one may at any moment; it has no switch for that.

        Raises:
            ClosedError: see `check`.
            TransportError: no complete reply arrived.
            ReplyError: the body is larger than the limit, or not what its encoding says.
        """
        session, url, options = self._way(request)
        attempt = self._timeouts.begin()
        try:
            async with session.request(
                request.endpoint.method,
                url,
                params=request.params,
                json=request.json,
                allow_redirects=False,
                **options,
            ) as response:
                attempt.last_activity = self._timeouts.now()
                body = await self._read(response, attempt)
                headers = response.headers
                sent = sent_at(headers, time.time())
                return Response(response.status, headers, body, parse_rate_limit(headers, sent), sent)
        except BrazeError:  # some are of the types below, too
            raise
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            problem = self._explain(error, url)
        except asyncio.CancelledError:
            if not attempt.timed_out():
                raise
            problem = self._timed_out(attempt, url)
        finally:
            self._timeouts.end(attempt)
        if isinstance(problem, TransportError):
            problem.suspended = attempt.suspended
        # Outside the except block: aiohttp's exceptions hold the Authorization header.
        raise problem

    def _way(self, request: Request[Any]) -> tuple[aiohttp.ClientSession, URL, dict[str, Any]]:
        """The session to use, the url to ask for, and what this session does not know by itself."""
        if self._session is None or self._session.closed:
            raise ClosedError(_SESSION_CLOSED)
        if request.part is not None:
            return self._way_elsewhere(request.part)
        path = request.endpoint.path
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = self._base_url.with_path(self._base_url.path.rstrip("/") + path)
        return self._session, url, self._options

    def _way_elsewhere(self, part: ByteRange) -> tuple[aiohttp.ClientSession, URL, dict[str, Any]]:
        if not (self._is_local or is_public_host(part.url.raw_host or "")):
            raise _not_public()
        if self._files is None:  # the other one sends the key with whatever it sends
            self._files = self._new_files_session()
        headers = {"Range": f"bytes={part.first}-{part.last}", "Accept-Encoding": "identity"}
        return self._files, part.url, {"headers": headers}

    async def _read(self, response: aiohttp.ClientResponse, attempt: Attempt) -> bytes:
        cap = self._limits.body
        body = bytearray()
        try:
            while chunk := await response.content.readany():
                attempt.last_activity = self._timeouts.now()
                self.received += len(chunk)
                body += chunk
                if len(body) > cap:
                    response.close()
                    raise too_large(cap)
            encoding = response.headers.get("Content-Encoding", "")
            return inflate(body, encoding.strip().lower(), cap) if encoding else bytes(body)
        except BrazeError:
            if response.status < 300:
                raise
        return b""  # keep the status even if the body cannot be read

    def _explain(self, error: Exception, url: URL) -> BrazeError:
        """Our error for aiohttp's: its kind is kept, its texts only where they cannot hold a header."""
        if isinstance(error, aiohttp.ClientConnectorDNSError) and isinstance(error.os_error, _NotPublicError):
            return _not_public()
        explained = self._explained(error, url)
        explained.sent = not isinstance(error, _NOT_SENT)
        return explained

    def _explained(self, error: Exception, url: URL) -> TransportError:
        where = f"{url.host}:{url.port}"
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return TimedOutError(
                f"no connection to {where} within {self._limits.connect:g} s", retryable=True
            )
        if isinstance(error, TimeoutError):
            return TimedOutError(f"{self._limits.read_timeout:g} s of silence from {where}", retryable=True)
        if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError):
            return TransportError(
                f"aiohttp cannot ask {where} ({type(error).__name__}): check base_url, and that a session of "
                "your own leaves ~/.netrc alone (trust_env=False)"
            )
        if isinstance(error, aiohttp.ClientSSLError):
            return TransportError(f"TLS with {where} failed ({_tls_reason(error)}); nothing was sent")
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            problem = f"the host of {where} is not found"
            if url.host == self._base_url.host:
                problem += f"; check base_url{nearest(url.host or '')}"
        elif isinstance(error, aiohttp.ClientConnectorError):
            # asyncio puts the address where the reason should be.
            reason = os.strerror(error.os_error.errno) if error.os_error.errno else "no reason given"
            problem = f"cannot connect to {where} ({reason})"
        elif isinstance(error, aiohttp.ClientPayloadError):
            problem = f"the connection to {where} was lost in the middle of the body"
        elif isinstance(error, aiohttp.ClientResponseError):
            problem = f"what {where} sent is not HTTP"
        else:
            problem = f"the connection to {where} was lost ({type(error).__name__})"
        return TransportError(problem, retryable=True)

    def _timed_out(self, attempt: Attempt, url: URL) -> TimedOutError:
        problem = f"not complete within {self._total:g} s"
        if attempt.timeout_kind == "read":
            problem = f"{self._limits.read_timeout:g} s of silence from {url.host}:{url.port}"
        error = TimedOutError(problem, retryable=True)
        error.sent = (
            attempt.last_activity is not None or self._given is not None
        )  # we cannot see whether a caller's session had connected
        return error


class _Connector(aiohttp.TCPConnector):
    """Tells when a request has its connection, since silence cannot begin before that."""

    def __init__(self, timeouts: TimeoutWatchdog, resolver: aiohttp.ThreadedResolver | None = None) -> None:
        # The client's semaphore bounds the connections; waiting for one here would eat into the time-out.
        super().__init__(limit=0, resolver=resolver)
        self._timeouts = timeouts

    async def connect(self, *arguments: Any, **named: Any) -> Any:
        """See `aiohttp.BaseConnector`."""
        connection = await super().connect(*arguments, **named)
        self._timeouts.connected()
        return connection


class _NotPublicError(OSError):
    """A name has an address that is not public; aiohttp makes a `ClientConnectorDNSError` of it."""


class _PublicResolver(aiohttp.ThreadedResolver):
    """Resolves names, and refuses those with an address that is not public.

    aiohttp connects to the addresses that this returns, so nothing can change between the check and the use.
    """

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_UNSPEC) -> Any:
        """See `aiohttp.abc.AbstractResolver`."""
        found = await super().resolve(host, port, family)
        if not all(is_public_address(each["host"]) for each in found):
            raise _NotPublicError
        return found


def _not_public() -> ReplyError:
    return ReplyError(
        "the url of the users file leads to a loopback, private or link-local address, which is refused; if "
        "your network resolves names to private addresses on purpose, give the client a session of your own",
        path="$.url",
    )


def _tls_reason(error: aiohttp.ClientSSLError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return escape_control(str(error.certificate_error))
    return escape_control(str(error.os_error))
