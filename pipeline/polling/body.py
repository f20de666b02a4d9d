"""Receives the body of an answer: decompressed, and never larger than the limit.

A compressed body is decompressed in bounded steps, so that a decompression bomb costs
no more than any other oversized body.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from pipeline.polling.answers import MAX_BODY_BYTES

_STEP = 64 * 1024  # bytes unpacked at a time


class BodyError(Exception):
    """The body is over the limit or does not match its Content-Encoding. The message says which."""


class Body:
    """Collects the chunks of one body; `content` is the body so far, at most the limit.

    `content_encoding` is the value of that header; gzip is decompressed, any other encoding is kept.
    """

    __slots__ = ("_decompressor", "content", "problem")

    def __init__(self, content_encoding: str | None) -> None:
        self.content = bytearray()
        self.problem: str | None = None
        self._decompressor = _decompressor(content_encoding) if content_encoding else None

    def add(self, chunk: bytes) -> Iterator[None]:
        """Adds the next chunk in bounded steps, one per item of the iterator. Raises BodyError."""
        if self._decompressor is None:
            self._take(chunk)
            yield
        while self._decompressor and chunk:
            if self._decompressor.eof:
                # A gzip body may have several members.
                self._decompressor = _gzip()
            self._take(_unpacked(self._decompressor, chunk))
            chunk = self._decompressor.unconsumed_tail or self._decompressor.unused_data
            yield

    def end(self) -> None:
        """Ends the body. Raises BodyError if the compressed data are incomplete."""
        if self._decompressor is not None and not self._decompressor.eof:
            raise BodyError("the body is truncated")

    def _take(self, piece: bytes) -> None:
        self.content += piece
        if len(self.content) > MAX_BODY_BYTES:
            del self.content[MAX_BODY_BYTES:]
            raise BodyError("the body is over 8 MiB")


def _unpacked(decompressor: zlib._Decompress, chunk: bytes) -> bytes:
    try:
        return decompressor.decompress(chunk, _STEP)
    except zlib.error:
        raise BodyError("the body is not what its Content-Encoding says") from None


def _decompressor(content_encoding: str) -> zlib._Decompress | None:
    return _gzip() if content_encoding.strip().lower() in ("gzip", "x-gzip") else None


def _gzip() -> zlib._Decompress:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)
