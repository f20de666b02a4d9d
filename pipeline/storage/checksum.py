"""Checksums of Parquet objects and of the answers in them.

DuckDB does not verify the checksums of Parquet pages, and Parquet has no checksum of the footer, which locates the
values and lets readers skip rows. Each object therefore contains a checksum of all its bytes. It is stored between the
pages and the footer. Readers ignore that place: they find pages by their offset from the start of the file, and the
footer by its offset from the end.

CRC-32 detects every burst of up to 32 damaged bits, and misses one in four billion other damages.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import BinaryIO

import pyarrow as pa

_MARK = b"PHYG-CRC"
_BLOCK = struct.Struct("<8sI")  # the mark, and the CRC-32 of all bytes before and after this block
_END = struct.Struct("<I4s")  # the last bytes of every Parquet file: the footer's size, and PAR1
_PIECE = 4 << 20  # bytes


def end_with_checksum(file: BinaryIO) -> tuple[int, bytes, int]:
    """The offset at which to replace the end of a Parquet file, the new end, and the checksum that it contains."""
    footer = _footer_at(file)
    file.seek(footer)
    end = file.read()
    checksum = zlib.crc32(end, crc_until(file, footer))
    return footer, _BLOCK.pack(_MARK, checksum) + end, checksum


def checksum_of(file: BinaryIO) -> int | None:
    """The checksum stored in a Parquet file; None if it has none."""
    footer = _footer_at(file)
    if footer < _BLOCK.size:
        return None
    file.seek(footer - _BLOCK.size)
    mark, checksum = _BLOCK.unpack(file.read(_BLOCK.size))
    return int(checksum) if mark == _MARK else None


def is_intact(file: BinaryIO) -> bool | None:
    """Whether a Parquet file matches its checksum; None if it has none, as files of other writers do not."""
    expected = checksum_of(file)
    if expected is None:
        return None
    end = file.read()  # `checksum_of` leaves the file's position at the footer
    return bool(zlib.crc32(end, crc_until(file, _footer_at(file) - _BLOCK.size)) == expected)


def bodies_are_whole(rows: pa.RecordBatch) -> bool:
    """Whether each answer in the rows matches its SHA-256; true if the rows have no answers."""
    if "body_sha256" not in rows.schema.names:
        return True
    answers = zip((body.as_buffer() for body in rows["body"]), rows["body_sha256"].to_pylist(), strict=True)
    return all(digest == (None if body is None else hashlib.sha256(body).hexdigest()) for body, digest in answers)


class RunningCrc:
    """The CRC-32 of the bytes of a file that were read so far, from its start."""

    def __init__(self, file: BinaryIO) -> None:
        file.seek(0)
        self._file = file
        self.value = 0

    def read_until(self, end: int) -> None:
        """Reads on, up to the offset `end` or the end of the file."""
        while (left := end - self._file.tell()) > 0:
            piece = self._file.read(min(_PIECE, left))
            if not piece:
                break
            self.value = zlib.crc32(piece, self.value)


def crc_until(file: BinaryIO, end: int) -> int:
    """The CRC-32 of the bytes before offset `end`."""
    crc = RunningCrc(file)
    crc.read_until(end)
    return crc.value


def _footer_at(file: BinaryIO) -> int:
    """The offset of the footer, computed from the file's last bytes; 0 if these are impossible."""
    size = file.seek(0, 2)
    if size < _END.size:
        return 0
    file.seek(size - _END.size)
    length, _ = _END.unpack(file.read(_END.size))
    return max(0, size - _END.size - int(length))
