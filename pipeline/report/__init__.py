"""The report: what the published file says, as one HTML page that anybody can open, print or send on.

Here belongs reading the published DuckDB file for the page (`queries`), wording figures for people (`wording`),
drawing charts (`charts`, with Vega-Altair) and putting it all together (`page`). No figure is derived here that a mart
holds, and nothing here reads the lake or raw.
"""

from pipeline.errors import PipelineError


class ReportError(PipelineError):
    """The report could not be made. The tables are published all the same, and the report before it is as it was."""
