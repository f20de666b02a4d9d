"""Objects as files in a folder: the file is the object."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from pyarrow import fs

from pipeline.storage.files import keep_access, sync
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

    def listing(self, prefix: str) -> list[Entry]:
        selector = fs.FileSelector(f"{self._prefix}{prefix}", allow_not_found=True, recursive=True)
        found = (self._entry(info) for info in self._fs.get_file_info(selector))
        return sorted(entry for entry in found if entry)

    def find(self, key: str) -> Entry | None:
        return self._entry(self._fs.get_file_info(f"{self._prefix}{key}"))

    def fetch(self, keys: Iterable[str]) -> None:
        """Nothing to do: the file is the object."""

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

    def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.delete_file(f"{self._prefix}{key}")

    def _entry(self, info: fs.FileInfo) -> Entry | None:
        if info.type != fs.FileType.File or info.base_name.startswith("."):
            return None
        # Replacing a file keeps its name and may keep its size, but changes its modification time.
        return Entry(info.path.removeprefix(self._prefix), info.size, f"{info.size}-{info.mtime_ns}", info.mtime_ns)
