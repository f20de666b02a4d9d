"""Asks buy/status once, over HTTP, with every bound that a strange server calls for."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from pipeline.polling.answers import MAX_BODY_BYTES, Answer

STATUS_PATH = "/vm/buy/status"
_REDACTED = "[redacted]"
_SHORTEST_SECRET = 8  # characters; a shorter key would be found, and redacted, in innocent text

# httpx logs each request's line at INFO: thousands of lines that say nothing new.
logging.getLogger("httpx").setLevel(logging.WARNING)


class StatusClient:
    """A client for one API and key. Use it as an async context manager.

    `timeout` bounds one request from end to end, in seconds. Redirects are not followed: they would
    carry the key elsewhere. TLS is always verified. How many requests are in flight is the caller's choice.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        timeout: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._secret = key if key and len(key) >= _SHORTEST_SECRET else None
        self._timeout = timeout
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": "phygitals-pipeline",
        }
        if key:
            headers["X-API-Key"] = key
        self._client = httpx.AsyncClient(
            transport=transport or AiohttpTransport(client=_session),
            headers=headers,
            timeout=None,  # noqa: S113  # asyncio.timeout bounds the whole request, not each of its phases
            follow_redirects=False,
        )

    async def __aenter__(self) -> StatusClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

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
        request = self._client.build_request("POST", self._url, json={"session_id": session_id})
        response = await self._client.send(request, stream=True)
        body = bytearray()
        problem = None
        try:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    problem = "the body is over 8 MiB"
                    del body[MAX_BODY_BYTES:]
                    break
        except (httpx.HTTPError, aiohttp.ClientError, OSError):
            problem = "the body is truncated"
        finally:
            await response.aclose()
        headers = {name: self._redact_text(value) for name, value in response.headers.items()}
        return Answer(response.status_code, headers, self._redact(bytes(body)), problem)

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
