"""The header of the packs file."""

from __future__ import annotations

from pipeline.sources.packs_file import COLUMNS

HEADER = ",".join(COLUMNS)
