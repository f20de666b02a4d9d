"""Connections that never attribute an answer to the wrong request, as a transport for httpx.

HTTP/1.1 matches answers to requests by their order alone. On a kept-open connection, one surplus answer would shift all
later ones to other sessions. Therefore a connection is closed when it receives unexpected bytes: before a request,
after an answer, or while idle. Surplus bytes that arrive after the next request was sent cannot be distinguished from
its answer. That is why a failure, which names no session, is confirmed by a second request on a fresh connection.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import LineTooLong
from httpx_aiohttp import AiohttpTransport

from pipeline.network import proxy_for, tls_context

LONGEST_HEADER_LINE = 64 * 1024 + 256  # bytes; a value of 64 KiB and the header's name
MOST_HEADERS = 1000
LONGEST_HEAD = 512 * 1024  # bytes of the status line and all headers, including interim answers
_INTERIM = (b"HTTP/1.1 1", b"HTTP/1.0 1")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)


def transport(url: str, headers: Mapping[str, str], keeps_connections: bool) -> AiohttpTransport:
    """A transport to the URL that adds these headers to every request.

    A proxy receives these headers too, unencrypted; pass secret headers with the requests instead. Without
    `keeps_connections` each request uses a fresh connection. Raises NetworkError.
    """
    is_tls = httpx.URL(url).scheme == "https"
    context = tls_context() if is_tls else None

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=_Connector(limit=0, ssl=context or False, force_close=not keeps_connections),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=LONGEST_HEADER_LINE,
            max_field_size=LONGEST_HEADER_LINE,
            max_headers=MOST_HEADERS,
        )

    return AiohttpTransport(verify=context or False, client=session, proxy=proxy_for(url))


class _Connector(aiohttp.TCPConnector):
    """Creates the connections below; aiohttp has no argument for their class."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        made: functools.partial[Any] = functools.partial(_SingleAnswerConnection, loop=asyncio.get_running_loop())
        self._factory = made


class _SingleAnswerConnection(ResponseHandler):
    """A connection that accepts one answer per request and closes itself at any further data."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._is_asked = False
        self._body: aiohttp.StreamReader | None = None  # of the answer, once its head is complete
        self._head_bytes = 0
        self._left: int | None = None  # remaining bytes of the answer, if its head has a Content-Length
        self._has_surplus = False

    def set_response_params(self, **options: Any) -> None:
        """A request is about to be sent."""
        self._is_asked = True
        self._body = None
        self._head_bytes = 0
        self._left = None
        super().set_response_params(**options)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Receives the head of an answer or of an interim answer."""
        message, body = data
        if self._body is not None:
            self._has_surplus = True
            return
        if message.code >= 200 or message.code == 101:
            self._body = body
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        if data and (not self._is_asked or (self._body is not None and self._body.is_eof())):
            self._hang_up()
            return
        if self._left is None and not self._head_bytes:
            self._left = _length(data)
        if self._left is not None:
            # Surplus bytes are cut off here, since a parser error about them would spoil the complete answer.
            self._has_surplus = len(data) > self._left
            data = data[: self._left]
            self._left -= len(data)
        super().data_received(data)
        if self._body is None:
            self._head_bytes += len(data)
            if self._head_bytes > LONGEST_HEAD:
                self.set_exception(LineTooLong("the headers together", str(LONGEST_HEAD)))
                self._hang_up()
        elif self._body.is_eof() and (self._has_surplus or self._has_begun_another()):
            self._hang_up()

    def _has_begun_another(self) -> bool:
        """Whether the parser has the beginning of another answer; it reports that at an end of input."""
        try:
            return self._parser is not None and self._parser.feed_eof() is not None
        except Exception:  # parsers raise various errors for an incomplete answer
            return True

    def _hang_up(self) -> None:
        self.force_close()
        if self.transport is not None:
            self.transport.close()


def _length(data: bytes) -> int | None:
    """The length in bytes of the answer that begins with `data`; None unless it has a Content-Length in `data`."""
    end = data.find(b"\r\n\r\n") + 4
    length = _LENGTH.search(data, 0, end) if end >= 4 and not data.startswith(_INTERIM) else None
    return end + int(length[1]) if length else None
