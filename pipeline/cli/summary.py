"""The result of a refresh in a few tables: purchases, packs, item types."""

from __future__ import annotations

from rich.console import Console

from pipeline.cli.table_output import print_rows
from pipeline.publish.warehouse import open_warehouse
from pipeline.storage.layout import Layout

_QUERIES = {
    "Purchases by status": """
        SELECT status, count(*) AS purchases, sum(pull_count)::BIGINT AS pulls, sum(buyback_value_usd) AS buyback_usd
        FROM purchases GROUP BY status ORDER BY purchases DESC
    """,
    "Item types": """
        SELECT item_type, pull_count AS pulls, round(100 * pull_share, 1) AS percent,
            buyback_total_usd AS total_usd, buyback_median_usd AS median_usd, buyback_max_usd AS max_usd
        FROM item_types ORDER BY pull_count DESC
    """,
    "Buyback values by day, the latest": """
        SELECT pulled_date, sum(pull_count)::BIGINT AS pulls, sum(buyback_total_usd) AS total_usd,
            max(buyback_max_usd) AS max_usd
        FROM buyback_values GROUP BY pulled_date ORDER BY pulled_date DESC LIMIT 7
    """,
    "Packs, on a quoted-buyback basis": """
        SELECT pack_id, fulfilled_count AS fulfilled, spend_usd, return_ratio, multiple_median AS median_multiple,
            format('{:.1f} % ({:.1f} to {:.1f})', 100 * win_rate, 100 * win_rate_low, 100 * win_rate_high) AS win_rate
        FROM pack_economics ORDER BY spend_usd DESC NULLS LAST LIMIT 12
    """,
    "Data issues": """
        SELECT severity, rule, count(*) AS findings FROM data_issues GROUP BY severity, rule ORDER BY findings DESC
    """,
}


def print_summary(console: Console, data: Layout) -> None:
    """Prints a summary of the published file. Raises PublishError if there is none."""
    with open_warehouse(data.warehouse, data.memory_limit) as connection:
        for title, query in _QUERIES.items():
            print_rows(console, connection.execute(query), title)
            console.print()
