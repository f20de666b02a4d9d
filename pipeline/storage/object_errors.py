"""What goes wrong with an object of the data directory. Each message names it and says what to do."""

from __future__ import annotations

from pipeline.errors import PipelineError


class StoreError(PipelineError):
    """An object could not be written or read. The message names it."""


class DamagedFileError(StoreError):
    """A Parquet file cannot be read. The message names it and says how to get it back."""


class MissingFileError(StoreError):
    """An object was removed after it had been listed."""
