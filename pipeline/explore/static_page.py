"""Writes the page as one static file: the outputs of the notebook, without scripts and without links.

marimo's own HTML export loads its scripts from elsewhere when it is opened, so it is not used.
"""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from pipeline.explore.edition import current_edition
from pipeline.explore.server import require_marimo
from pipeline.publish.export import write_file
from pipeline.storage.data_directory import DataDirectory

_PAGE = Markup(
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Phygitals: explore</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    "<style>body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 80rem; padding: 0 1rem }}"
    "</style>"
    "</head><body>{}</body></html>\n"
)


def write_static_page(path: Path, data: DataDirectory) -> None:
    """Runs the notebook without a browser and writes what it shows, replacing an existing file.

    Raises ExploreError, ExportError and PublishError.
    """
    require_marimo()
    import marimo as mo

    from pipeline.explore.app import app

    current_edition(data)  # raises before marimo would show the error as an output
    outputs, _ = app.run()
    shown = Markup("\n").join(Markup(mo.as_html(output).text) for output in outputs if output is not None)  # noqa: S704
    write_file(path, lambda temporary: temporary.write_text(str(_PAGE.format(shown)), encoding="utf-8"))
