"""The interface through which objects are kept: in a folder, or in an object store with a working copy.

A key is the POSIX path of an object below the root, such as `lake/pulls/2026-03-01.parquet`. Readers work on files, so
an object is fetched before it is read, and a file that was written in place is pushed.
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
    """Complete objects by key. A reader sees the former object or the new one, and nothing in between.

    An object store raises StoreError if it refuses or cannot be reached, from every method.
    """

    @property
    def root(self) -> Path:
        """The folder of the files. The file of an object is `root / key`."""

    @property
    def is_remote(self) -> bool:
        """Whether the objects are elsewhere, which guards them against damage, and the files are copies."""

    def refresh(self) -> None:
        """Forgets listings, so that the next ones show what other processes have written."""

    def listing(self, prefix: str) -> list[Entry]:
        """The objects in the folder `prefix` and below, by key; none if there is no such folder. Raises OSError.

        An object store is asked once per folder until `refresh`; the storage's own writes are included.
        """

    def find(self, key: str) -> Entry | None:
        """One object; None if there is none. Raises OSError."""

    def fetch(self, keys: Iterable[str]) -> None:
        """Makes sure that the files of these objects are the current ones. An object that is gone has no file."""

    def fetch_again(self, key: str) -> bool:
        """Replaces a file that turned out to be damaged; False if the file is all there is."""

    def put(self, file: Path, key: str) -> Entry:
        """Publishes a file as an object, in place of a former one, and removes it from where it was.

        The file must be on the file system of `root`. When this returns, the object survives a power cut.
        Raises OSError, and the former object is untouched then.
        """

    def push(self, key: str, versions: int = 0) -> None:
        """Makes the object from its file, which was written in place.

        With `versions`, an object store keeps so many of its latest versions under names of their own as well, for
        readers that opened one of them.
        """

    def keep_segment(self, key: str, content: bytes) -> None:
        """Keeps a piece of a file that is still being written, where the file would be lost with the machine."""

    def segments(self, folder: str) -> list[str]:
        """The keys of the kept pieces in a folder and below, sorted."""

    def drop_segments(self, keys: list[str]) -> None:
        """Removes kept pieces."""

    def delete(self, key: str) -> None:
        """Removes an object; one that is gone is no error. Raises OSError."""

    def read(self, key: str) -> tuple[bytes, str] | None:
        """The content of a small object and its etag; None if there is none. Raises OSError."""

    def compare_and_swap(self, key: str, content: bytes, etag: str | None) -> str:
        """Replaces a small object that has this etag, or makes it if `etag` is None. Returns the new etag.

        Raises ConflictError if the object has another etag; DataDirectoryError if a folder cannot be written.
        """
