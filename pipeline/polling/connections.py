"""Connections on which an answer belongs to the request before it, and how httpx's requests travel over them.

HTTP/1.1 tells which answer is whose by their order alone. One surplus answer on a connection that is kept open would
be taken for the next session's, and so on. So a connection is closed as soon as it brings what nobody waits for:
bytes before a request, bytes behind an answer, bytes while it lies idle. What comes after the next request has been
sent cannot be told from its answer. That is why a failure, which names no session, is asked for once more on a
connection of its own.
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

LONGEST_HEADER_LINE = 64 * 1024 + 256  # bytes; with room for the name beside a value of 64 KiB
MOST_HEADERS = 1000
LONGEST_HEAD = 512 * 1024  # bytes; of the status line and all headers, together with interim answers
_INTERIM = (b"HTTP/1.1 1", b"HTTP/1.0 1")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)


def transport(url: str, headers: Mapping[str, str], keeps_connections: bool) -> AiohttpTransport:
    """A transport to the URL whose every request has these headers, and those that a body and a connection need.

    A proxy is sent these headers as well, in clear: what it must not see belongs into the requests. Without
    `keeps_connections` each request has a connection of its own. Raises NetworkError.
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
    """Makes connections of the kind below, for which aiohttp has no argument."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        made: functools.partial[Any] = functools.partial(_OneAnswerARequest, loop=asyncio.get_running_loop())
        self._factory = made


class _OneAnswerARequest(ResponseHandler):
    """A connection that takes one answer a request, and hangs up at all that comes beside it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._is_asked = False
        self._body: aiohttp.StreamReader | None = None  # of the answer, once its head has come
        self._head_bytes = 0
        self._left: int | None = None  # bytes of the answer that are still to come, where its head has said so
        self._has_surplus = False

    def set_response_params(self, **options: Any) -> None:
        """A request is about to be sent."""
        self._is_asked = True
        self._body = None
        self._head_bytes = 0
        self._left = None
        super().set_response_params(**options)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """An answer's head has come, or an interim answer's."""
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
            # Whatever a parser would make of what follows, the answer itself is whole.
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
        """Whether a beginning of one more answer came behind the answer, as the parser tells at an end."""
        try:
            return self._parser is not None and self._parser.feed_eof() is not None
        except Exception:  # whatever a parser makes of half an answer
            return True

    def _hang_up(self) -> None:
        self.force_close()
        if self.transport is not None:
            self.transport.close()


def _length(data: bytes) -> int | None:
    """The length of an answer of which this is the beginning; None where that is not told here in so many bytes."""
    end = data.find(b"\r\n\r\n") + 4
    length = _LENGTH.search(data, 0, end) if end >= 4 and not data.startswith(_INTERIM) else None
    return end + int(length[1]) if length else None
