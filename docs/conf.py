"""Configuration of the documentation site: `make docs` builds it into `build/docs`."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "phygitals-pipeline"
version = release = installed_version(project)
extensions = ["myst_parser"]
exclude_patterns = ["*.py"]
html_theme = "furo"
html_title = f"{project} {version}"
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
myst_heading_anchors = 3
nitpicky = True
# The records of decisions are read on the site and on a code host, where a table of contents is a table of links.
toc_object_entries = False
