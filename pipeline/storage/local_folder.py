"""Objects as files in a folder: the file is the object."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from pyarrow import fs

from pipeline.storage.errors import ConflictError
from pipeline.storage.files import keep_access, replace_file, sync
from pipeline.storage.object_storage import Entry


class LocalFolder:
    """An `ObjectStorage` in a folder. Files whose names begin with a dot are incomplete and do not count as objects."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._prefix = f"{root.as_posix()}/"
        self._fs = fs.LocalFileSystem()  # lists a history of many objects faster than pathlib

    @property
    def root(self) -> Path:
        return self._root

    @property
    def is_remote(self) -> bool:
        return False

    def refresh(self) -> None:
        """Nothing to do: each listing is a new one."""

    def listing(self, prefix: str) -> list[Entry]:
        selector = fs.FileSelector(f"{self._prefix}{prefix}", allow_not_found=True, recursive=True)
        found = (self._entry(info) for info in self._fs.get_file_info(selector))
        return sorted(entry for entry in found if entry)

    def find(self, key: str) -> Entry | None:
        return self._entry(self._fs.get_file_info(f"{self._prefix}{key}"))

    def fetch(self, keys: Iterable[str]) -> None:
        """Nothing to do: the file is the object."""

    def fetch_again(self, key: str) -> bool:
        return False

    def put(self, file: Path, key: str) -> Entry:
        target = self._root / key
        keep_access(file, target)
        sync(file)
        file.replace(target)
        sync(target.parent)
        entry = self.find(key)
        if entry is None:
            raise FileNotFoundError(f"{target} was deleted right after it had been written")
        return entry

    def push(self, key: str, versions: int = 0) -> None:
        """Nothing to do: the file is the object."""

    def keep_segment(self, key: str, content: bytes) -> None:
        """Nothing to do: the file itself is kept."""

    def segments(self, folder: str) -> list[str]:
        return []

    def drop_segments(self, keys: list[str]) -> None:
        """Nothing to do: there are none."""

    def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.delete_file(f"{self._prefix}{key}")

    def read(self, key: str) -> tuple[bytes, str] | None:
        entry = self.find(key)
        return ((self._root / key).read_bytes(), entry.etag) if entry else None

    def compare_and_swap(self, key: str, content: bytes, etag: str | None) -> str:
        former = self.find(key)
        if (former and former.etag) != etag:
            raise ConflictError(f"{self._root / key} was changed by another process")
        replace_file(self._root / key, content)
        entry = self.find(key)
        return entry.etag if entry else ""

    def _entry(self, info: fs.FileInfo) -> Entry | None:
        if info.type != fs.FileType.File or info.base_name.startswith("."):
            return None
        # Replacing a file keeps its name and may keep its size, but changes its modification time.
        return Entry(info.path.removeprefix(self._prefix), info.size, f"{info.size}-{info.mtime_ns}", info.mtime_ns)
