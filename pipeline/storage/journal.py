"""The format of a journal: frames, each with a batch of answers, its length and its checksum.

A frame is a header of 16 bytes and an Arrow IPC stream of one batch. The stream includes the schema, so each frame can
be read without the others. CRC-32 detects every burst of up to 32 damaged bits, and misses one in four billion other
damages. After a damaged frame, reading continues at the next valid header.

A kill or a power cut tears the end: the last frame is cut off, or ends in zeros that were not yet overwritten. A torn
frame was never synced, so its answers were never reported as saved. All other invalid bytes are damage.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from pipeline.schema.raw import OUTCOMES, STATUS_RESPONSES
from pipeline.schema.table import Table
from pipeline.storage.checksum import bodies_are_whole
from pipeline.storage.errors import StoreError
from pipeline.storage.missing_columns import with_missing_columns

SUFFIX = ".journal"
_FORMER_SUFFIX = ".arrows"  # the journal of earlier versions: one Arrow IPC stream without checksums
_DAMAGED = ".damaged"
_MARK = b"PHJ1"
_HEADER = struct.Struct("<4sII")  # the mark, the payload's size and CRC-32; the CRC-32 of these three follows
_CRC = struct.Struct("<I")
_HEADER_BYTES = _HEADER.size + _CRC.size
_SEARCHED_AT_ONCE = 1 << 20
_NEVER_WRITTEN = bytes(8)  # no complete frame ends in eight zero bytes


@dataclass
class Account:
    """The bytes of a journal that could not be read as batches: torn at the end, or damaged."""

    torn_bytes: int = 0
    damaged_bytes: int = 0


Frame = tuple[bytes, pa.Buffer]  # header and payload


def frame(rows: pa.RecordBatch) -> Frame:
    """The rows as a header and a payload, to be appended to a journal in this order."""
    sink = pa.BufferOutputStream()
    schema = rows.schema.remove_metadata()  # otherwise each frame would repeat the columns' descriptions
    schema = pa.schema(field.remove_metadata() for field in schema)
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_batch(rows.cast(schema))
    payload = sink.getvalue()
    header = _HEADER.pack(_MARK, payload.size, zlib.crc32(payload))
    return header + _CRC.pack(zlib.crc32(header)), payload


def left_over(folder: Path) -> list[Path]:
    """The journals in a folder, sorted by name, thus by starting time."""
    return sorted([*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*{_FORMER_SUFFIX}")])


def set_aside(journal: Path) -> Path:
    """Renames a damaged journal, so that no run reads it again, and returns its new path."""
    return journal.rename(journal.with_name(journal.name + _DAMAGED))


def read(journal: Path, table: Table, account: Account) -> Iterator[pa.RecordBatch]:
    """The intact batches in order. The account counts the other bytes; it is complete when the iterator is exhausted.

    Columns that an earlier version did not write are NULL. Raises StoreError if the disk cannot be read.
    """
    try:
        with journal.open("rb") as file:
            for rows in (_former if journal.suffix == _FORMER_SUFFIX else _frames)(file, account):
                yield with_missing_columns(table, rows)
    except OSError as error:
        raise StoreError(
            f"{journal} could not be read: {error}; its answers are kept: repair the disk, then run again"
        ) from error


def _frames(file: BinaryIO, account: Account) -> Iterator[pa.RecordBatch]:
    size = file.seek(0, 2)
    at = 0
    while at < size:
        length, rows = _frame_at(file, at)
        if rows is not None:
            yield rows
            at += _HEADER_BYTES + (length or 0)
            continue
        following = _next_header(file, at + 1)
        if following is not None:
            account.damaged_bytes += following - at
            at = following
        elif _is_torn(file, at, size, length):
            account.torn_bytes = size - at
            return
        else:
            account.damaged_bytes += size - at
            return


def _frame_at(file: BinaryIO, at: int) -> tuple[int | None, pa.RecordBatch | None]:
    """The payload's length if the header is valid, and the rows if the payload is intact."""
    file.seek(at)
    header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or zlib.crc32(header[: _HEADER.size]) != _CRC.unpack_from(header, _HEADER.size)[0]:
        return None, None
    mark, length, crc = _HEADER.unpack_from(header)
    payload = file.read(length) if mark == _MARK else b""
    if mark != _MARK or len(payload) < length or zlib.crc32(payload) != crc:
        return length, None
    try:
        rows = pa.ipc.open_stream(payload).read_next_batch()
    except (pa.ArrowException, OSError, StopIteration):
        return length, None
    return length, rows if bodies_are_whole(rows) else None


def _next_header(file: BinaryIO, at: int) -> int | None:
    """The offset of the first valid header at or after an offset."""
    while True:
        file.seek(at)
        piece = file.read(_SEARCHED_AT_ONCE)
        found = piece.find(_MARK)
        while 0 <= found <= len(piece) - _HEADER_BYTES:
            if zlib.crc32(piece[found : found + _HEADER.size]) == _CRC.unpack_from(piece, found + _HEADER.size)[0]:
                return at + found
            found = piece.find(_MARK, found + 1)
        if len(piece) < _SEARCHED_AT_ONCE:
            return None
        at += len(piece) - _HEADER_BYTES + 1  # a header may cross the boundary


def _is_torn(file: BinaryIO, at: int, size: int, length: int | None) -> bool:
    if size - at < _HEADER_BYTES or (length is not None and at + _HEADER_BYTES + length > size):
        return True
    file.seek(size - len(_NEVER_WRITTEN))
    return file.read() == _NEVER_WRITTEN


def _former(file: BinaryIO, account: Account) -> Iterator[pa.RecordBatch]:
    """The batches of a journal of status responses without checksums, up to the first implausible one."""
    size = file.seek(0, 2)
    read_until = file.seek(0)
    try:
        for rows in pa.ipc.open_stream(file):
            rows.validate(full=True)
            if not _is_plausible(rows):
                break
            yield rows
            read_until = file.tell()
        else:
            read_until = file.tell()
    except (pa.ArrowException, StopIteration, EOFError, OSError) as error:
        # Arrow reports damage as an OSError without an errno.
        if isinstance(error, OSError) and error.errno is not None:
            raise
    if read_until < size:
        account.damaged_bytes = size - read_until


def _is_plausible(rows: pa.RecordBatch) -> bool:
    known = with_missing_columns(STATUS_RESPONSES, rows)
    if not known.schema.equals(STATUS_RESPONSES.arrow_schema) or not bodies_are_whole(rows):
        return False
    return all(rows["session_id"].to_pylist()) and set(rows["outcome"].to_pylist()) <= {*OUTCOMES}
