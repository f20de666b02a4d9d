"""The interface of object storage. The local folder implements it today; an object store can without changing callers.

A key is the POSIX path of an object below the root, such as `lake/pulls/2026-03-01.parquet`. Readers open files, so an
implementation for an object store fetches an object before it is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """A complete object: size in bytes, etag, which each replacement changes, and modification time in nanoseconds."""

    key: str
    size: int
    etag: str
    modified_ns: int


class ObjectStorage(Protocol):
    """Complete objects by key. A reader sees either the former object or the new one."""

    @property
    def root(self) -> Path:
        """The folder of the files. The file of an object is `root / key`."""

    def listing(self, prefix: str) -> list[Entry]:
        """The objects in the folder `prefix` and below, sorted by key; empty if it does not exist. Raises OSError."""

    def find(self, key: str) -> Entry | None:
        """The object; None if it does not exist. Raises OSError."""

    def fetch(self, keys: Iterable[str]) -> None:
        """Brings the files of these objects up to date. A deleted object has no file."""

    def put(self, file: Path, key: str) -> Entry:
        """Moves a file to an object's place and replaces a former object atomically.

        The file must be on the file system of `root`. When this returns, the object survives a power cut.
        Raises OSError and leaves the former object unchanged.
        """

    def delete(self, key: str) -> None:
        """Deletes an object; does nothing if it does not exist. Raises OSError."""
