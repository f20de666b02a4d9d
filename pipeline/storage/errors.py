"""Errors of the data directory and of its objects. Each message names the path and says what to do."""

from __future__ import annotations

from pipeline.errors import PipelineError


class DataDirectoryError(PipelineError):
    """The data directory cannot be used: it belongs to another environment, is locked, or is not writable."""


class StoreError(PipelineError):
    """An object could not be written or read. The message names it."""


class DamagedFileError(StoreError):
    """A Parquet file is damaged. The message names it and the remedy: restore it, or delete it to derive it again."""


class MissingFileError(StoreError):
    """An object was deleted after it had been listed."""


class ConflictError(StoreError):
    """Another process replaced an object after it was read."""


class MemoryLimitError(StoreError):
    """A query needs more memory than DuckDB may use."""


class LeaseLostError(StoreError):
    """This process no longer holds the lease, so it must not write or send requests."""
