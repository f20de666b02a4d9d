"""The interface through which objects are kept: a folder today, an object store without a change of its users.

A key is the POSIX path of an object below the root, such as `lake/pulls/2026-03-01.parquet`. Readers work on files, so
an implementation for an object store fetches an object before it is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """A complete object: size in bytes, etag, which each replacement changes, and when it was written, in ns."""

    key: str
    size: int
    etag: str
    modified_ns: int


class ObjectStorage(Protocol):
    """Complete objects by key. A reader sees the former object or the new one, and nothing in between."""

    @property
    def root(self) -> Path:
        """The folder of the files. The file of an object is `root / key`."""

    def listing(self, prefix: str) -> list[Entry]:
        """The objects in the folder `prefix` and below, by key; none if there is no such folder. Raises OSError."""

    def find(self, key: str) -> Entry | None:
        """One object; None if there is none. Raises OSError."""

    def fetch(self, keys: Iterable[str]) -> None:
        """Makes sure that the files of these objects are the current ones. An object that is gone has no file."""

    def put(self, file: Path, key: str) -> Entry:
        """Publishes a file as an object, in place of a former one, and removes it from where it was.

        The file must be on the file system of `root`. When this returns, the object survives a power cut.
        Raises OSError, and the former object is untouched then.
        """

    def delete(self, key: str) -> None:
        """Removes an object; one that is gone is no error. Raises OSError."""
