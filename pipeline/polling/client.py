"""Asks buy/status once, over HTTP, with every bound that a strange server calls for."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import cast

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from pipeline.polling.answers import Answer
from pipeline.polling.body import Body, BodyError

STATUS_PATH = "/vm/buy/status"
_REDACTED = "[redacted]"
_SHORTEST_SECRET = 8  # characters; a shorter key would be found, and redacted, in innocent text

_HEADERS = ("content-type", "retry-after")  # the headers that a meaning hangs on
_LARGE_BODY = 256 * 1024
_LARGE_BODIES = 8


class StatusClient:
    """A client for one API and key. Use it as an async context manager.

    `timeout` bounds one request from end to end, in seconds. Redirects are not followed: they would
    carry the key elsewhere. TLS is always verified. How many requests are in flight is the caller's choice.

    Requests go straight to an httpx transport. What `httpx.AsyncClient` adds to one (cookies, redirects,
    authentication, merging of defaults) is not wanted here, and costs as much as the request itself.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        timeout: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = httpx.URL(url)
        self._secret = key if key and len(key) >= _SHORTEST_SECRET else None
        self._timeout = timeout
        self._transport = transport or AiohttpTransport(client=_session)
        self._large_bodies = asyncio.Semaphore(_LARGE_BODIES)
        self._headers = [
            (b"Host", self._url.netloc),
            (b"Accept", b"application/json"),
            (b"Accept-Encoding", b"gzip"),
            (b"Content-Type", b"application/json"),
            (b"User-Agent", b"phygitals-pipeline"),
        ]
        if key:
            self._headers.append((b"X-API-Key", key.encode()))

    async def __aenter__(self) -> StatusClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.aclose()

    async def ask(self, session_id: str) -> Answer:
        """One request. Every failure to get an answer is an Answer too; nothing is raised for it."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._ask(session_id)
        except TimeoutError:
            return Answer(None, {}, None, f"no answer within {self._timeout:g} s")
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            is_unreachable = isinstance(error, httpx.ConnectError)
            return Answer(None, {}, None, self._redact_text(_words(error)), is_unreachable=is_unreachable)

    async def _ask(self, session_id: str) -> Answer:
        question = json.dumps({"session_id": session_id}).encode()
        length = (b"Content-Length", str(len(question)).encode())
        request = httpx.Request("POST", self._url, headers=[*self._headers, length], content=question)
        response = await self._transport.handle_async_request(request)
        stream = cast(httpx.AsyncByteStream, response.stream)
        headers = {n: self._redact_text(v) for n in _HEADERS if (v := response.headers.get(n)) is not None}
        body = Body(response.headers.get("content-encoding"))
        try:
            await self._read(stream, body)
        except BodyError as error:
            body.problem = str(error)
        except (httpx.HTTPError, aiohttp.ClientError, OSError):
            body.problem = "the body is truncated"
        finally:
            await stream.aclose()
        return Answer(response.status_code, headers, self._redact(bytes(body.content)), body.problem)

    async def _read(self, stream: httpx.AsyncByteStream, body: Body) -> None:
        """Reads the body to its end. Few large bodies are read at a time, whatever a server sends."""
        is_large = False
        try:
            async for chunk in stream:
                body.add(chunk)
                if len(body.content) > _LARGE_BODY and not is_large:
                    await self._large_bodies.acquire()
                    is_large = True
            body.end()
        finally:
            if is_large:
                self._large_bodies.release()

    def _redact(self, body: bytes) -> bytes:
        """A server that echoes the key must not get it written to disk."""
        return body.replace(self._secret.encode(), _REDACTED.encode()) if self._secret else body

    def _redact_text(self, text: str) -> str:
        return text.replace(self._secret, _REDACTED) if self._secret else text


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, ssl=httpx.create_ssl_context())
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _words(error: Exception) -> str:
    """What broke, on one line: aiohttp's words, which know more than the httpx error made of them."""
    cause = error.__cause__ or error
    kind = "no connection" if isinstance(cause, aiohttp.ClientConnectorError) else "the connection broke"
    return f"{kind}: {' '.join(str(cause).split())[:200] or type(cause).__name__}"
