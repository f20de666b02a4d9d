"""Error translation: turns query failures caused by disk, memory limit or a damaged file into one line for people."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from pipeline.errors import PipelineError
from pipeline.schema import TABLES
from pipeline.storage.errors import MemoryLimitError, MissingFileError, StoreError
from pipeline.storage.layout import Layout
from pipeline.storage.local_folder import LocalFolder
from pipeline.storage.objects import Store, first_line
from pipeline.storage.parquet_query import literal_path

_NO_MEMORY = re.compile(r"Out of Memory Error: (.*)")
_NO_ROOM = ("No space left on device", "Disk quota exceeded", "File too large", "failed to offload data")
_NO_RIGHT = ("Permission denied", "Read-only file system")
_OF_THE_QUERY = (
    *(duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException, duckdb.ConversionException),
    *(duckdb.OutOfRangeException, duckdb.ConstraintException, duckdb.InterruptException),
)
_NAMED = re.compile(r"""['"]([^'"]+\.parquet)['"]""")


def explain(error: Exception, data: Layout) -> PipelineError | None:
    """The error for people; None if neither the disk, the memory limit nor a file caused the failure."""
    text, store = str(error), Store(LocalFolder(data.root))
    if any(words in text for words in _NO_ROOM):
        return StoreError(
            f"{data.root} has no room for a query's spilled rows or output: {first_line(error)}; "
            "existing files are unchanged: free some space, then run again"
        )
    if exceeded := exceeds_memory(error, data.memory_limit):
        return exceeded
    if any(words in text for words in _NO_RIGHT):
        return StoreError(f"{data.root} cannot be used: {first_line(error)}; correct the permissions, then run again")
    for named in _NAMED.findall(text):
        path = named.replace(literal_path(str(data.root)), str(data.root), 1)
        if not Path(path).is_relative_to(data.root):
            continue
        if not Path(path).exists():
            return MissingFileError(f"{path} was deleted while it was being read: run again")
        return store.damaged(path, error)
    if isinstance(error, _OF_THE_QUERY):
        return None
    # DuckDB names the file if its content is damaged, but not if its structure is.
    for reads_all in (False, True):
        for table in TABLES.values():
            for _, damage in store.damaged_objects(table, reads_all):
                return damage
    return None


def exceeds_memory(error: Exception, limit: str) -> MemoryLimitError | None:
    """The error for people if a query needs more memory than `limit`, else None."""
    found = _NO_MEMORY.search(str(error))
    if found is None:
        return None
    return MemoryLimitError(
        f"a query needs more memory than PHYGITALS_MEMORY_LIMIT={limit} allows: {found[1].strip()}; "
        "set a higher limit, then run again"
    )
