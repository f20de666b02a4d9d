"""Sends one request to a polled endpoint over HTTP, with bounds on time, size and headers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, cast

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError

from pipeline.network import proxy_for
from pipeline.polling.answers import NO_CONNECTION, Answer
from pipeline.polling.body import Body, BodyError
from pipeline.polling.connections import transport
from pipeline.polling.endpoint import Endpoint
from pipeline.polling.redaction import Redaction

_LONGEST_WORDS = 200
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "Content-Type": "application/json",
    "User-Agent": "phygitals-pipeline",
}
_HEADERS_KEPT = (b"content-type", b"retry-after")  # the headers that the interpretation needs
_SHARE_FOR_CONNECTING = 0.8
_UNREACHABLE = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
_LARGE_BODY = 256 * 1024
_LARGE_BODIES = 2


class StatusClient:
    """A client for one API and key. Use it as an async context manager.

    `timeout` bounds a whole request, in seconds. Redirects are not followed: they would
    send the key elsewhere. TLS is always verified. The caller limits the number of requests in flight.
    `room` returns when the caller has memory for another large answer; large bodies wait for it.

    Raises NetworkError if the environment's proxy or certificates cannot be used.

    Requests go directly to an httpx transport. The features of `httpx.AsyncClient` (cookies, redirects,
    authentication, merging of defaults) are not needed and cost as much as the request itself.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        url: str,
        key: str | None,
        timeout: float,
        room: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._content = endpoint.request
        self._url = httpx.URL(url)
        self._redaction = Redaction(key)
        self._timeout = timeout
        self._room = room
        credentials = {"X-API-Key": key} if key else {}
        # The transport's own headers cost less than a request's, but a proxy sees them.
        self._headers = credentials if proxy_for(url) else None
        headers = _HEADERS if self._headers else _HEADERS | credentials
        self._transport = transport(url, headers, keeps_connections=True)
        self._fresh_transport = transport(url, headers, keeps_connections=False)
        # A failed connection should be reported before the time-out of the whole request.
        self._extensions = {"timeout": {"connect": timeout * _SHARE_FOR_CONNECTING}}
        self._large_bodies = asyncio.Semaphore(_LARGE_BODIES)

    async def __aenter__(self) -> StatusClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.aclose()
        await self._fresh_transport.aclose()

    async def ask(self, session_id: str, is_fresh: bool = False) -> Answer:
        """Sends one request, on a fresh connection if `is_fresh`.

        A failure to get an answer is returned as an Answer, not raised.
        """
        loop = asyncio.get_running_loop()
        task = cast(asyncio.Task[Any], asyncio.current_task())
        # Same effect as asyncio.timeout, at a third of the cost.
        timer = loop.call_later(self._timeout, task.cancel)
        try:
            return await self._ask(session_id, self._fresh_transport if is_fresh else self._transport)
        except asyncio.CancelledError:
            if loop.time() < timer.when() or task.uncancel() > 0:
                raise
            return Answer(None, {}, None, f"no answer within {self._timeout:g} s")
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            cause = error.__cause__ or error
            is_unreachable = isinstance(cause, _UNREACHABLE)
            words = self._redaction.text(_words(cause, is_unreachable))[:_LONGEST_WORDS]
            return Answer(None, {}, None, words, is_unreachable=is_unreachable)
        finally:
            timer.cancel()

    async def _ask(self, session_id: str, over: httpx.AsyncBaseTransport) -> Answer:
        response = await over.handle_async_request(self._request(session_id))
        stream = cast(httpx.AsyncByteStream, response.stream)
        headers = {name.lower(): value for name, value in response.headers.raw}
        kept = {n.decode(): self._redaction.text(headers[n].decode("latin-1")) for n in _HEADERS_KEPT if n in headers}
        body = Body(headers.get(b"content-encoding", b"").decode("latin-1"))
        try:
            await self._read(stream, body)
        except BodyError as error:
            body.problem = str(error)
        except (httpx.HTTPError, aiohttp.ClientError, OSError):
            body.problem = "the body is truncated"
        finally:
            await stream.aclose()
        content = self._redaction.body(bytes(body.content), is_cut=body.problem is not None)
        return Answer(response.status_code, kept, content, body.problem)

    def _request(self, session_id: str) -> httpx.Request:
        # With a stream instead of content, httpx derives no headers, which would cost more than the rest.
        stream = httpx.ByteStream(self._content(session_id))
        request = httpx.Request("POST", self._url, headers=self._headers, stream=stream, extensions=self._extensions)
        request.read()
        return request

    async def _read(self, stream: httpx.AsyncByteStream, body: Body) -> None:
        """Reads the whole body. Only a few large bodies are read at a time."""
        is_large = False
        try:
            async for chunk in stream:
                for _ in body.add(chunk):
                    if len(body.content) > _LARGE_BODY:
                        if not is_large:
                            await self._large_bodies.acquire()
                            is_large = True
                        if self._room:
                            await self._room()
            body.end()
        finally:
            if is_large:
                self._large_bodies.release()


def _words(error: BaseException, is_unreachable: bool) -> str:
    """The cause of the failure on one line, from aiohttp's error, which is more precise than httpx's."""
    kind, words = NO_CONNECTION if is_unreachable else "the connection broke", str(error)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        kind = f"{NO_CONNECTION}, for the server's certificate is not trusted"
        words = str(getattr(error.certificate_error, "verify_message", error))
    elif isinstance(error, aiohttp.ClientHttpProxyError):
        words = f"the proxy in HTTPS_PROXY answered HTTP {error.status}"
    elif isinstance(error, aiohttp.ClientProxyConnectionError):
        words = f"the proxy in HTTPS_PROXY is not there: {error.os_error}"
    elif isinstance(error, aiohttp.ServerDisconnectedError):
        words = "the server closed it"
    elif isinstance(error, HttpProcessingError):
        kind, words = "the answer is not HTTP", error.message
    return f"{kind}: {' '.join(words.split()) or type(error).__name__}"
