"""Errors of the data directory and of its objects. Each message names the path and says what to do."""

from __future__ import annotations

from pipeline.errors import PipelineError


class DataDirectoryError(PipelineError):
    """The data directory cannot be used: another environment's, locked, or not writable."""


class StoreError(PipelineError):
    """An object could not be written or read. The message names it."""


class DamagedFileError(StoreError):
    """A Parquet file cannot be read. The message names it and says how to get it back."""


class MissingFileError(StoreError):
    """An object was removed after it had been listed."""
