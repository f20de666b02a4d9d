"""The paths below a data directory, and the memory for queries on it.

No other package composes the paths; the paths of objects follow from their keys.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.process import MEMORY_LIMIT
from pipeline.schema.table import Table


class Layout:
    """The paths of one environment's data, below `root`.

    Users write `inbox/`, `sellbacks/` and `reference/`. The pipeline writes `raw/`, `staging/`, `lake/`,
    `phygitals.duckdb`, `lake.duckdb` and `report.html`. `staging/` also holds the records: small files that save work
    and may be lost. `memory_limit` is the memory that DuckDB may use, such as `2GB`.
    """

    def __init__(self, root: Path, memory_limit: str = MEMORY_LIMIT) -> None:
        self.root = root
        self.memory_limit = memory_limit
        self.environment_file = root / "environment.json"
        self.lock_file = root / ".lock"
        self.scratch = root / ".scratch"
        self.inbox = root / "inbox"
        self.sellbacks = root / "sellbacks"
        self.packs_file = root / "reference" / "packs.csv"
        self.raw = root / "raw"
        self.lake = root / "lake"
        self.warehouse = root / "phygitals.duckdb"
        self.lake_views = root / "lake.duckdb"
        self.report = root / "report.html"

    def shard_lock(self, number: int) -> Path:
        """The lock file of a polling shard."""
        return self.root / f".lock.poll-{number}"

    def journal(self, table: Table) -> Path:
        """The folder of a raw table's journals."""
        return self.raw / table.name / ".journal"

    def intake_folder(self, name: str) -> Path:
        """The folder for users' files of one kind."""
        return self.root / name
