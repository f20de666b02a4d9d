"""The body of an answer as it comes in: decompressed, and never larger than the limit.

A compressed body is unpacked in bounded steps, so that a few kilobytes that stand for gigabytes cost
no more than any other body that is too large.
"""

from __future__ import annotations

import zlib

from pipeline.polling.answers import MAX_BODY_BYTES


class BodyError(Exception):
    """The body is over the limit, or not what its Content-Encoding says. The message says which."""


class Body:
    """Collects the chunks of one body. `content` is what has come so far, at most the limit.

    `content_encoding` is that header's value; gzip is undone, any other is left as it came.
    """

    __slots__ = ("_decompressor", "content", "problem")

    def __init__(self, content_encoding: str | None) -> None:
        self.content = bytearray()
        self.problem: str | None = None
        self._decompressor = _decompressor(content_encoding) if content_encoding else None

    def add(self, chunk: bytes) -> None:
        """Takes the next chunk as received. Raises BodyError."""
        self.content += self._unpacked(chunk)
        if len(self.content) > MAX_BODY_BYTES:
            del self.content[MAX_BODY_BYTES:]
            raise BodyError("the body is over 8 MiB")

    def end(self) -> None:
        """The body is complete. Raises BodyError when its compression says otherwise."""
        if self._decompressor is not None and not self._decompressor.eof:
            raise BodyError("the body is truncated")

    def _unpacked(self, chunk: bytes) -> bytes:
        if self._decompressor is None:
            return chunk
        room = MAX_BODY_BYTES + 1 - len(self.content)
        try:
            return self._decompressor.decompress(chunk, room)
        except zlib.error:
            raise BodyError("the body is not what its Content-Encoding says") from None


def _decompressor(content_encoding: str) -> zlib._Decompress | None:
    is_gzip = content_encoding.strip().lower() in ("gzip", "x-gzip")
    return zlib.decompressobj(zlib.MAX_WBITS | 16) if is_gzip else None
