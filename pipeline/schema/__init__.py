"""Every table of the pipeline, each declared once: its grain, columns, keys and sources.

The declarations generate the Parquet schemas, the DuckDB types and comments, Dagster's column
schemas, the asset checks and the reference page of the tables.
"""

from pipeline.schema import (
    findings,
    groups,
    intermediate,
    items,
    packs,
    pulled,
    quotes,
    raw,
    resolution,
    signals,
    sold,
    staging,
    tiers,
)
from pipeline.schema.table import Table, Zone

TABLES: dict[str, Table] = {
    t.name: t
    for module in (
        *(raw, staging, items, packs, intermediate),
        *(sold, groups, quotes, resolution, pulled, tiers, signals, findings),
    )
    for t in vars(module).values()
    if isinstance(t, Table)
}

RAW: tuple[Table, ...] = tuple(t for t in TABLES.values() if t.zone is Zone.RAW)

PUBLISHED: tuple[Table, ...] = tuple(t for t in TABLES.values() if t.zone is Zone.LAKE)
