"""The report: the published file as one HTML page for any browser or printer.

Here belongs reading the published DuckDB file for the page (`queries`), wording figures for people (`wording`),
drawing charts (`charts`, with Vega-Altair) and composing the page (`page`). Figures come from the marts;
this package reads neither the lake nor raw.
"""

from pipeline.errors import PipelineError


class ReportError(PipelineError):
    """The report could not be made. The tables are published, and the former report is unchanged."""
