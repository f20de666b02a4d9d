"""Checksums of what is kept: of a whole Parquet object, within itself, and of each answer.

DuckDB verifies no checksum of a Parquet page, and nobody has one of the footer, which says where values lie and which
rows may be passed over. So an object has one over all its bytes. It stands between the pages and the footer, where no
reader looks: pages are found by their distance from the beginning, and the footer by its distance from the end.

CRC-32 tells every run of damaged bits of up to 32, so any byte, and all but one in four billion of anything else.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import BinaryIO

import pyarrow as pa

_MARK = b"PHYG-CRC"
_BLOCK = struct.Struct("<8sI")  # the mark, and the CRC-32 of all bytes before and behind this block
_END = struct.Struct("<I4s")  # how every Parquet file ends: the footer's size, and PAR1
_PIECE = 4 << 20  # bytes


def end_with_checksum(file: BinaryIO) -> tuple[int, bytes, int]:
    """Where the end of a Parquet file begins that is to be replaced, by what, and the checksum that it has then."""
    footer = _footer_at(file)
    file.seek(footer)
    end = file.read()
    checksum = zlib.crc32(end, crc_until(file, footer))
    return footer, _BLOCK.pack(_MARK, checksum) + end, checksum


def checksum_of(file: BinaryIO) -> int | None:
    """The checksum that a Parquet file says that it has; None where it has none."""
    footer = _footer_at(file)
    if footer < _BLOCK.size:
        return None
    file.seek(footer - _BLOCK.size)
    mark, checksum = _BLOCK.unpack(file.read(_BLOCK.size))
    return int(checksum) if mark == _MARK else None


def is_intact(file: BinaryIO) -> bool | None:
    """Whether a Parquet file is what its writer wrote; None where it has no checksum, as those of others do not."""
    expected = checksum_of(file)
    if expected is None:
        return None
    end = file.read()  # `checksum_of` leaves the file's position at the footer
    return bool(zlib.crc32(end, crc_until(file, _footer_at(file) - _BLOCK.size)) == expected)


def bodies_are_whole(rows: pa.RecordBatch) -> bool:
    """Whether each answer in the rows is the one whose SHA-256 stands beside it; true of rows without answers."""
    if "body_sha256" not in rows.schema.names:
        return True
    answers = zip((body.as_buffer() for body in rows["body"]), rows["body_sha256"].to_pylist(), strict=True)
    return all(digest == (None if body is None else hashlib.sha256(body).hexdigest()) for body, digest in answers)


def crc_until(file: BinaryIO, end: int) -> int:
    """The CRC-32 of a file's first bytes."""
    crc = 0
    file.seek(0)
    while (left := end - file.tell()) > 0:
        piece = file.read(min(_PIECE, left))
        if not piece:
            break
        crc = zlib.crc32(piece, crc)
    return crc


def _footer_at(file: BinaryIO) -> int:
    """Where the footer begins, as the file's last bytes tell; 0 where they cannot be right."""
    size = file.seek(0, 2)
    if size < _END.size:
        return 0
    file.seek(size - _END.size)
    length, _ = _END.unpack(file.read(_END.size))
    return max(0, size - _END.size - int(length))
