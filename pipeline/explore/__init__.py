"""The interactive page on the published file: `phygitals explore`.

`app.py` is a marimo notebook and arranges the page. The modules beside it query and word what it shows, and none of
them but `app.py`, `server.py` and `static_page.py` needs marimo.
"""

from __future__ import annotations

from pipeline.errors import PipelineError


class ExploreError(PipelineError):
    """The page cannot be served or written."""
