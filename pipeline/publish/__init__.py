"""The published DuckDB file with every published table, and the views of the whole lake."""

from pipeline.errors import PipelineError


class PublishError(PipelineError):
    """A DuckDB file could not be built or opened. The former file, if any, is unchanged."""
