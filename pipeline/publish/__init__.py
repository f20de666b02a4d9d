"""The published DuckDB file with every published table, and the views of the whole lake."""

from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.storage.objects import first_line


class PublishError(PipelineError):
    """A DuckDB file could not be built or opened. The former file, if any, is unchanged."""


def not_replaced(path: Path, cause: Exception) -> PublishError:
    """The error for a file that could not be replaced. A cause that is for people has a remedy of its own."""
    remedy = "" if isinstance(cause, PipelineError) else "; correct the cause and run again"
    return PublishError(f"{path} could not be replaced and is unchanged: {first_line(cause)}{remedy}")
