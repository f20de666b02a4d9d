"""The report: the published file as one HTML page for any browser or printer.

`queries` reads the published DuckDB file, `wording` formats figures for people, `charts` draws with Vega-Altair, and
`page` composes the page. Figures come from the marts; this package reads neither the lake nor raw.
"""

from pipeline.errors import PipelineError


class ReportError(PipelineError):
    """The report could not be made. The tables are published, and the previous report is unchanged."""
