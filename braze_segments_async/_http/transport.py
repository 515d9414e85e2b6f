"""Send one HTTP request and read the whole body. All that is imported of aiohttp is here and in `direct`."""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import time
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from braze_segments_async._arguments import is_public_address, is_public_host
from braze_segments_async._instances import suggest_instance
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
from .direct import DirectGet
from .headers import parse_rate_limit, response_date
from .responses import Response
from .timeouts import TimeoutWatchdog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yarl import URL

    from braze_segments_async._settings import ClientSettings

    from .direct import DirectResponse
    from .timeouts import Attempt

__all__ = ["Transport"]

_USER_AGENT = (
    f"braze-segments-async/{__version__} Python/{platform.python_version()} aiohttp/{aiohttp.__version__}"
)
_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    ValueError,
)


class Transport:
    """One aiohttp session, with the timeouts of the requests sent through it.

    Made inside the event loop that uses it, by `to_braze` or `to_files`.

    Attributes:
        received: Bytes of response bodies so far, as they came.
    """

    def __init__(self, settings: ClientSettings) -> None:
        """Start without a session; `settings` are the arguments of the client."""
        self.received = 0
        self._limits = settings.limits
        self._total = settings.timeout
        self._given = settings.session  # used, and never closed here
        self._proxy = settings.proxy
        self._timeouts = TimeoutWatchdog(total=self._total, read_timeout=self._limits.read_timeout)
        self._session: aiohttp.ClientSession
        self._api_host: str | None = None
        self._public_only = False
        self._direct: DirectGet | None = None
        self._headers: Mapping[str, str] | None = None  # of each request, where the session has others
        # Our connector reports when a connection is ready; for a caller's session aiohttp does it (slower).
        read_timeout = None if self._given is None else self._limits.read_timeout
        self._options: dict[str, Any] = {
            "timeout": aiohttp.ClientTimeout(
                total=None, sock_connect=self._limits.connect, sock_read=read_timeout
            ),
            "auto_decompress": False,
            "raise_for_status": False,  # statuses are judged here, whatever the caller's session does
        }

    @classmethod
    def to_braze(cls, base_url: URL, api_key: Secret, settings: ClientSettings) -> Self:
        """Return a transport whose requests carry the API key.

        Args:
            base_url: The REST endpoint, checked and normalised.
            api_key: Goes into the Authorization header, and nowhere else.
            settings: Arguments of the client.

        Raises:
            ConfigError: The caller's session cannot be used.
        """
        self, session = cls(settings), settings.session
        self._api_host = base_url.host
        headers = {
            "Authorization": Secret(f"Bearer {api_key}"),
            "User-Agent": _USER_AGENT,
            "Accept": "application/json",
            "Accept-Encoding": "gzip",  # what inflate() can bound
        }
        if session is None:
            self._session = self._new_session(headers, connector=_Connector(self._timeouts))
            if settings.direct:
                self._direct = DirectGet.create(self._session, base_url, settings.proxy)
        else:
            if session.auth is not None or "Authorization" in session.headers:
                raise ConfigError(
                    "has an auth of its own, in the place of the API key; leave it out", argument="session"
                )
            self._session, self._headers = session, headers
        return self

    @classmethod
    def to_files(cls, settings: ClientSettings, *, public_only: bool) -> Self:
        """Return a transport to other hosts than Braze's, which must not get the API key.

        Of the caller's session it uses the connections, the proxy and the traces, but not the headers and
        cookies, which are for Braze.

        Args:
            settings: Arguments of the client.
            public_only: Whether to refuse names with an address that is not public.
        """
        self, lender = cls(settings), settings.session
        self._public_only = public_only
        headers = {"User-Agent": _USER_AGENT}
        if lender is None:
            # A proxy resolves the names of hosts by itself; this resolver then sees that of the proxy only.
            resolver = _PublicResolver() if public_only and settings.proxy is None else None
            self._session = self._new_session(headers, connector=_Connector(self._timeouts, resolver))
        else:
            self._session = self._new_session(
                headers,
                connector=lender.connector,
                connector_owner=False,
                trust_env=lender.trust_env,
                trace_configs=lender.trace_configs,
                proxy=getattr(lender, "_default_proxy", None),  # aiohttp has no public name for it
                proxy_auth=getattr(lender, "_default_proxy_auth", None),
            )
        return self

    def _new_session(self, headers: Mapping[str, str], **options: Any) -> aiohttp.ClientSession:
        jar = aiohttp.DummyCookieJar()
        options = {"proxy": self._proxy, **options, **self._options}
        return aiohttp.ClientSession(headers=headers, cookie_jar=jar, **options)

    async def aclose(self) -> None:
        """Close the session, unless it is the caller's."""
        self._timeouts.close()
        if self._session is not self._given:
            await self._session.close()

    def check_open(self) -> None:
        """Raise `ClosedError` if the session was closed."""
        if self._session.closed:
            raise ClosedError(
                "the session is closed; open a new client, with an open session if it is your own"
            )

    async def send(
        self,
        method: str,
        url: URL,
        params: Mapping[str, str],
        *,
        json: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send one request and read the whole response.

        aiohttp itself sends a GET a second time if the connection drops before the response begins, as a
        kept-alive one may at any moment; it has no switch for that.

        Raises:
            ClosedError: The session was closed.
            TransportError: No complete response arrived.
            ReplyError: The body is larger than the limit, or not what its encoding says; or the host is not
                public, see `to_files`.
        """
        self.check_open()
        if self._public_only and not is_public_host(url.raw_host or ""):
            raise _not_public_error()
        attempt = self._timeouts.begin()
        response: aiohttp.ClientResponse | DirectResponse
        try:
            if self._direct is not None and method == "GET" and self._direct.usable:
                response = await self._direct.get(url.raw_path, params)
            else:
                options = self._options if self._session is self._given else {}
                response = await self._session.request(
                    method,
                    url,
                    params=params,
                    json=json,
                    headers=headers or self._headers,
                    allow_redirects=False,
                    **options,
                )
            try:
                attempt.last_activity = self._timeouts.now()
                body = await self._read(response, attempt)
            finally:
                response.release()
            sent = response_date(response.headers, time.time())
            rate_limit = parse_rate_limit(response.headers, sent)
            return Response(response.status, response.headers, body, rate_limit, sent)
        except BrazeError:  # some are of the types below, too
            raise
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            problem = self._explain(error, attempt, url)
        except asyncio.CancelledError:
            if not attempt.uncancel_if_own():
                raise
            problem = self._timed_out(attempt, url)
        finally:
            self._timeouts.end(attempt)
        # Outside the except block: aiohttp's exceptions hold the Authorization header.
        raise problem

    async def _read(self, response: aiohttp.ClientResponse | DirectResponse, attempt: Attempt) -> bytes:
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

    def _explain(self, error: Exception, attempt: Attempt, url: URL) -> BrazeError:
        """Return our error for one of aiohttp; texts are kept only where they cannot hold a header."""
        if isinstance(error, aiohttp.ClientConnectorDNSError) and isinstance(error.os_error, _NotPublicError):
            return _not_public_error()
        problem, retryable = self._describe(error, url)
        kind = TimedOutError if isinstance(error, TimeoutError) else TransportError
        sent = not isinstance(error, _NOT_SENT)
        return kind(problem, retryable=retryable, sent=sent, suspended=attempt.suspended)

    def _describe(self, error: Exception, url: URL) -> tuple[str, bool]:  # noqa: PLR0911 - one for each case
        """Return what went wrong, and whether a retry can help."""
        where = _peer(error, url)
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return f"no connection to {where} within {self._limits.connect:g} s", True
        if isinstance(error, aiohttp.ClientHttpProxyError):
            hint = "check the user and the password in its URL" if error.status == 407 else "ask its operator"
            return (
                f"the proxy refuses to connect to {where} (status {error.status}): {hint}; nothing was sent"
            ), error.status >= 500
        if isinstance(error, TimeoutError):
            return f"{self._limits.read_timeout:g} s without data from {where}", True
        if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError):
            return (
                f"aiohttp cannot send a request to {where} ({type(error).__name__}): check base_url, and "
                "that a session of your own does not use ~/.netrc (trust_env=False)"
            ), False
        if isinstance(error, aiohttp.ClientSSLError):
            return f"TLS with {where} failed ({_tls_reason(error)}); nothing was sent", False
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            hint = (
                f"; check base_url{suggest_instance(url.host or '')}" if error.host == self._api_host else ""
            )
            return f"the host of {where} is not found{hint}", True
        if isinstance(error, aiohttp.ClientConnectorError):
            # The system's own text: asyncio puts the address where the reason should be.
            reason = os.strerror(error.os_error.errno) if error.os_error.errno else "no reason given"
            return f"cannot connect to {where} ({reason})", True
        if isinstance(error, aiohttp.ClientPayloadError):
            return f"the connection to {where} was lost in the middle of the body", True
        if isinstance(error, aiohttp.ClientResponseError):
            return f"the response of {where} is not HTTP", True
        return f"the connection to {where} was lost ({type(error).__name__})", True

    def _timed_out(self, attempt: Attempt, url: URL) -> TimedOutError:
        problem = f"not complete within {self._total:g} s"
        if attempt.reason == "read":
            problem = f"{self._limits.read_timeout:g} s without data from {url.host}:{url.port}"
        # Whether a caller's session had connected is not visible here, so its request may have been sent.
        sent = attempt.last_activity is not None or self._given is not None
        return TimedOutError(problem, retryable=True, sent=sent, suspended=attempt.suspended)


class _Connector(aiohttp.TCPConnector):
    """Starts the read timeout of a request when it has a connection."""

    def __init__(self, timeouts: TimeoutWatchdog, resolver: aiohttp.ThreadedResolver | None = None) -> None:
        # The client's semaphore bounds the connections; waiting for one here would use up the timeout.
        super().__init__(limit=0, resolver=resolver)
        self._timeouts = timeouts

    async def connect(self, *arguments: Any, **named: Any) -> Any:
        """Get a connection, see `aiohttp.BaseConnector`."""
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
        """Resolve a name, see `aiohttp.abc.AbstractResolver`."""
        found = await super().resolve(host, port, family)
        if not all(is_public_address(each["host"]) for each in found):
            raise _NotPublicError
        return found


def _peer(error: Exception, url: URL) -> str:
    """Return host and port of the failed connection: those of the URL or of a proxy."""
    if isinstance(error, aiohttp.ClientConnectorError) and (error.host, error.port) != (
        url.raw_host,
        url.port,
    ):
        return f"the proxy {escape_control(str(error.host))}:{error.port}"
    return f"{url.host}:{url.port}"


def _not_public_error() -> ReplyError:
    return ReplyError(
        "the url of the users file leads to a loopback, private or link-local address, which is refused; if "
        "your network resolves names to private addresses on purpose, give the client a session of your own",
        path="$.url",
    )


def _tls_reason(error: aiohttp.ClientSSLError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return escape_control(str(error.certificate_error))
    return escape_control(str(error.os_error))
