"""Serves or writes the interactive page on the published file."""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.console import say
from pipeline.explore.server import require_marimo, serve
from pipeline.publish.export import refuse_bad_places
from pipeline.steps import Workspace


def serve_page(host: str, port: int) -> None:
    """Serves the page until Ctrl-C. Raises ExploreError and PublishError."""
    require_marimo()
    serve(Workspace.open_for_reading().data, host, port, lambda url: say(f"Explore: {url} (Ctrl-C ends it)"))


def export_page(path: Path) -> None:
    """Writes the page as one static file, outside of the data directory. Raises ExploreError and ExportError."""
    from pipeline.explore.static_page import write_static_page

    require_marimo()
    data = Workspace.open_for_reading().data
    refuse_bad_places(path, data)
    write_static_page(path, data)
