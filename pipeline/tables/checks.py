"""Checks of the published tables, from their declarations and from what must add up.

A check is a query for the rows that break it: none found, it passes.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from pipeline.lake.database import connect
from pipeline.lake.directory import DataDirectory
from pipeline.schema import PUBLISHED, TABLES
from pipeline.schema.table import Table

_SHOWN = 5


@dataclass(frozen=True)
class Check:
    """`offenders` selects the rows that break the rule. After a blocking one, nothing is built on the table."""

    table: Table
    name: str
    description: str
    offenders: str
    is_blocking: bool = True


@dataclass(frozen=True)
class Finding:
    """How many rows break a check, and the first few of them as text."""

    offender_count: int
    examples: list[str]


def run(check: Check, data: DataDirectory) -> Finding:
    """Runs one check over the lake as it stands."""
    with connect(data) as connection:
        for table in PUBLISHED:
            connection.execute(f"CREATE TEMP VIEW {table.name} AS FROM {data.store.scan(table)}")
        found = connection.execute(check.offenders)
        names = [column[0] for column in found.description or []]
        examples = [_row(names, row) for row in found.fetchmany(_SHOWN)]
        count = _count(connection, check.offenders)
    return Finding(count, examples)


def _row(names: list[str], values: tuple[object, ...]) -> str:
    return ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM ({query})").fetchone()
    return int(row[0]) if row else 0


def _key_check(table: Table) -> Check:
    key = ", ".join(table.key)
    return Check(
        table,
        "key_is_unique",
        f"No two rows share {key}.",
        f"SELECT {key}, count(*) AS row_count FROM {table.name} GROUP BY ALL HAVING count(*) > 1",
    )


def _null_check(table: Table) -> Check:
    required = [c.name for c in table.columns if c.is_required]
    return Check(
        table,
        "required_columns_are_set",
        f"No NULL in {', '.join(required)}.",
        f"SELECT {', '.join(required)} FROM {table.name} WHERE {' OR '.join(f'{c} IS NULL' for c in required)}",
    )


def _reference(table: str, columns: str, target: str) -> Check:
    return Check(
        TABLES[table],
        f"refers_to_{target}",
        f"Every {columns} stands in {target}.",
        f"SELECT DISTINCT {columns} FROM {table} ANTI JOIN {target} USING ({columns}) "
        f"WHERE {columns.split(',')[0]} IS NOT NULL",
    )


_RECONCILIATIONS = (
    Check(
        TABLES["pulls"],
        "every_item_is_a_pull",
        "Each fulfilled purchase has as many pulls as its answer has items, worth as much in sum.",
        """
        SELECT session_id, any_value(purchases.pull_count) AS items, count(pulls.pull_number) AS pulls,
            any_value(buyback_value_usd) AS answer_usd, sum(buyback_price_usd) AS pulls_usd
        FROM purchases LEFT JOIN pulls USING (session_id)
        WHERE status = 'fulfilled'
        GROUP BY session_id
        HAVING items <> pulls OR answer_usd IS DISTINCT FROM TRY_CAST(pulls_usd AS DECIMAL(18,4))
        """,
    ),
    Check(
        TABLES["purchases"],
        "status_is_known",
        "Every purchase is pending, fulfilled, failed or expired, and has a resolution time when it is final.",
        """
        SELECT session_id, status, resolved_at FROM purchases
        WHERE status NOT IN ('pending', 'fulfilled', 'failed', 'expired')
            OR (status IN ('fulfilled', 'failed')) <> (resolved_at IS NOT NULL)
        """,
    ),
    Check(
        TABLES["item_types"],
        "counts_every_pull",
        "The pulls of all item types are the rows of pulls.",
        """
        SELECT (SELECT coalesce(sum(pull_count), 0) FROM item_types) AS counted,
            (SELECT count(*) FROM pulls) AS pulls
        WHERE counted <> pulls
        """,
    ),
    Check(
        TABLES["buyback_values"],
        "counts_every_pull",
        "The pulls of all days, packs and types are the rows of pulls.",
        """
        SELECT (SELECT coalesce(sum(pull_count), 0) FROM buyback_values) AS counted,
            (SELECT count(*) FROM pulls) AS pulls
        WHERE counted <> pulls
        """,
    ),
    Check(
        TABLES["resolution_funnel"],
        "counts_every_purchase",
        "Every submitted session is fulfilled, failed, pending or expired, and none is missing.",
        """
        SELECT submitted_date::VARCHAR AS day, submitted, fulfilled + failed + pending + expired AS counted
        FROM resolution_funnel
        WHERE submitted <> counted
        UNION ALL
        SELECT 'all days', purchases, counted
        FROM (SELECT count(*) AS purchases FROM purchases),
            (SELECT coalesce(sum(submitted), 0) AS counted FROM resolution_funnel)
        WHERE purchases <> counted
        """,
    ),
    Check(
        TABLES["daily_type_mix"],
        "counts_every_pull",
        "The pulls of all days and types are the rows of pulls.",
        """
        SELECT (SELECT coalesce(sum(pull_count), 0) FROM daily_type_mix) AS counted,
            (SELECT count(*) FROM pulls) AS pulls
        WHERE counted <> pulls
        """,
    ),
    Check(
        TABLES["pending_ageing"],
        "counts_every_pending_session",
        "The sessions of all bands of age are the pending purchases.",
        """
        SELECT (SELECT coalesce(sum(session_count), 0) FROM pending_ageing) AS counted,
            (SELECT count(*) FROM purchases WHERE status = 'pending') AS pending
        WHERE counted <> pending
        """,
    ),
    Check(
        TABLES["buyback_outstanding"],
        "a_longer_window_holds_no_less",
        "No window has more pulls than a longer one.",
        """
        SELECT a.window_days, a.pull_count, b.window_days AS longer, b.pull_count AS pulls_of_the_longer
        FROM buyback_outstanding AS a JOIN buyback_outstanding AS b ON a.window_days < b.window_days
        WHERE a.pull_count > b.pull_count
        """,
    ),
    Check(
        TABLES["tier_hit_rates"],
        "counts_every_quoted_pull",
        "The hits of a pack's tiers, and those outside, are its quoted pulls.",
        """
        SELECT pack_id, counted, pulls
        FROM (SELECT pack_id, sum(hit_count) AS counted FROM tier_hit_rates GROUP BY pack_id)
        JOIN (SELECT pack_id, count(buyback_price_usd) AS pulls FROM pulls GROUP BY pack_id) USING (pack_id)
        WHERE counted <> pulls
        """,
    ),
    Check(
        TABLES["data_issues"],
        "has_no_errors",
        "No finding is an error: nothing was rejected, malformed or contradictory.",
        """
        SELECT rule, count(*) AS findings, max(observed_at)::VARCHAR AS latest,
            arg_max(coalesce(source || ': ', '') || detail, observed_at) AS for_example
        FROM data_issues WHERE severity = 'error' GROUP BY rule ORDER BY findings DESC
        """,
        is_blocking=False,
    ),
    Check(
        TABLES["data_issues"],
        "has_no_schema_drift",
        "Answers have the fields, types of values and item types that the API's reference names, and no others.",
        """
        SELECT rule, field, detail, raw_value AS value
        FROM data_issues WHERE rule IN ('unknown_field', 'changed_type', 'new_item_type') ORDER BY observed_at DESC
        """,
        is_blocking=False,
    ),
)

CHECKS: tuple[Check, ...] = (
    *(_key_check(table) for table in PUBLISHED if table.key),
    *(_null_check(table) for table in PUBLISHED),
    _reference("pulls", "session_id", "purchases"),
    _reference("item_attributes", "session_id, pull_number", "pulls"),
    _reference("items", "item_id", "pulls"),
    _reference("top_pulls", "session_id, pull_number", "pulls"),
    _reference("repulled_items", "item_id", "items"),
    *_RECONCILIATIONS,
)
