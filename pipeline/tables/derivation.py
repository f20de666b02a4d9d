"""How a table is derived, as a fingerprint, by which a later run sees that its SQL or columns have changed."""

from __future__ import annotations

from pipeline.lake.manifest import digest
from pipeline.schema import TABLES
from pipeline.schema.table import Table, Zone
from pipeline.tables.queries import macros, query


def derivation(table: Table) -> str:
    """A fingerprint that changes the way the table is derived does, here or anywhere upstream."""
    if table.zone is Zone.RAW:
        return ""
    columns = [(c.name, c.type) for c in table.columns]
    own = query(table) if table.sources else ""
    upstream = [*(TABLES[name] for name in table.sources), *table.steps]
    return digest(own, macros(), columns, [derivation(source) for source in upstream])
