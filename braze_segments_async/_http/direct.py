"""Send GET requests over aiohttp's connections, without the work its session does anew for each request.

aiohttp builds URL, headers, cookies, authentication, timers and a response object for every request; here
they never differ, and cost about half of a request's CPU. Its connector (pool, DNS, TLS) and its parser are
used as they are. What this module uses of them is not documented, so `DirectGet.create` looks for all of it,
and the transport uses the session itself where something is missing.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote_plus

import aiohttp
from yarl import URL

from braze_segments_async._text import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DirectGet", "DirectResponse"]


class DirectResponse:
    """The start of a response, with the methods and attributes of `aiohttp.ClientResponse` that are needed.

    Attributes:
        status: HTTP status.
        headers: Headers, whose lookup ignores letter case.
        content: The body, still to be read.
    """

    __slots__ = ("_connection", "content", "headers", "status")

    def __init__(self, connection: Any, message: Any, content: aiohttp.StreamReader) -> None:
        self._connection = connection
        self.status: int = message.code
        self.headers: Mapping[str, str] = message.headers
        self.content = content

    def release(self) -> None:
        """Give the connection back to the pool; one with an unread body is closed by the connector."""
        self._connection.release()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class DirectGet:
    """Sends GET requests to one host."""

    def __init__(self, session: aiohttp.ClientSession, base_url: URL, proxy: URL | None) -> None:
        """Prepare what all requests share; see `create`."""
        self._session = session
        self._connector: Any = session.connector
        self._send_request = aiohttp.ClientSession._request  # noqa: SLF001 - see `usable`
        # Carries host, port and TLS settings for the connector, and all headers as aiohttp would send them.
        self._request: Any = aiohttp.ClientRequest(
            "GET",
            base_url,
            headers=session.headers,
            loop=asyncio.get_running_loop(),
            session=session,
            proxy=proxy,
        )
        headers = self._request.headers.items()
        self._headers = Secret("".join(f"{name}: {value}\r\n" for name, value in headers))

    @classmethod
    def create(cls, session: aiohttp.ClientSession, base_url: URL, proxy: str | None = None) -> Self | None:
        """Return a sender for an open session of this package; `None` if the session must be used itself.

        That is the case where other code traces or replaces its requests (traces, aioresponses, patches by
        monitoring agents), and with a version of aiohttp in which something is missing. Also for http through
        a proxy, which needs another request line and the proxy's password in each request; https goes through
        a tunnel, in which nothing differs.
        """
        if proxy is not None and base_url.scheme == "http":
            return None
        try:
            from aiohttp.client_proto import ResponseHandler  # noqa: PLC0415 - not documented

            inspect.signature(ResponseHandler.set_response_params).bind(
                None, read_until_eof=True, auto_decompress=False
            )
            inspect.signature(aiohttp.BaseConnector.connect).bind(None, None, [], None)
            ResponseHandler.read, aiohttp.connector.Connection.protocol  # noqa: B018 - do they exist?
            genuine = inspect.getfile(aiohttp.ClientSession._request) == aiohttp.client.__file__  # noqa: SLF001
            untouched = inspect.isfunction(aiohttp.ClientSession._request) and not session.trace_configs  # noqa: SLF001
            return cls(session, base_url, URL(proxy) if proxy else None) if genuine and untouched else None
        except (ImportError, AttributeError, TypeError, ValueError):
            return None

    @property
    def usable(self) -> bool:
        """False while a library such as aioresponses replaces the method that sends requests."""
        return aiohttp.ClientSession._request is self._send_request  # noqa: SLF001

    async def get(self, path: str, params: Mapping[str, str]) -> DirectResponse:
        """Send a request and return the start of the response; the caller reads the body and releases it.

        Like aiohttp, send a second time if the connection is lost before the response begins: a connection
        from the pool can be closed by the server at any moment.

        Raises:
            aiohttp.ClientError: The same errors as those of `aiohttp.ClientSession.request`.
        """
        try:
            return await self._exchange(path, params)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            pass
        return await self._exchange(path, params)

    async def _exchange(self, path: str, params: Mapping[str, str]) -> DirectResponse:
        try:
            connection = await self._connector.connect(self._request, [], self._session.timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(str(error)) from None
        try:
            protocol = connection.protocol
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            # `urlencode` takes twice the time; the names are those of this package.
            query = "&".join([f"{name}={quote_plus(value)}" for name, value in params.items()])
            target = f"{path}?{query}" if query else path
            # Not bound to a name: a traceback may show locals, and the headers hold the key.
            protocol.transport.write(f"GET {target} HTTP/1.1\r\n{self._headers}\r\n".encode("latin-1"))
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:
                message, content = await protocol.read()
        except aiohttp.http.HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(
                self._request.request_info, (), status=error.code, message=error.message
            ) from None
        except BaseException:
            connection.close()
            raise
        return DirectResponse(connection, message, content)
