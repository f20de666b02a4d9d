"""CPU seconds that the history costs a daily run in `users`, `pack_weeks` and `set_values`.

Run `python -m benchmarks.rollups` from the project's root; it takes three minutes. `benchmarks.rollups 1000000` takes
fewer pulls. The tables that these marts read are made up for a year of 10 M pulls, one file per day, in two mixes:

- catalogue: items are of 20,000 cards, whose quotes change by a few percent a day; few users buy the most; category and
  year follow from the set.
- adverse: hardly any two pulls have a user and a day, or a quote and a day, in common, or two items all their labels.

A run derives the sums of the days since the closed months and the mart. The baselines, measured in the same run, are a
plain scan (the greatest value of each column that the mart needs, over all days) and a run that derives all sums again,
which it does when a closed month changes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import duckdb
from rich.console import Console
from rich.table import Table as Printed

from pipeline.schema import TABLES
from pipeline.transform.queries import macros, query, time_macros

FIRST_DAY = "2026-01-01"
DAYS = 365
OPEN_DAYS = 30  # since the closed months: 15 to 45
PULLS = 10_000_000
ITEMS = 1_000_000
PERIODS = {
    "users": ("user_periods", "user_period_quote_counts"),
    "pack_weeks": ("pack_week_periods",),
    "set_values": (),
}
BY_DAY = ("user_days", "user_daily_quote_counts", "daily_quote_counts")


class Mix(NamedTuple):
    """Expressions. Of a session, `s` is its number and `d` its day; of an item, `i` is its number."""

    users: str
    pulls_a_session: str
    mean_pulls: float
    quote: str  # `k` is the pull's number, `card` that of a card
    label: str  # what category and year follow from
    grade: str


MIXES = {
    "catalogue": Mix(
        "exp(share(s, 1) * ln(200000))",
        "[1, 1, 1, 1, 1, 1, 2, 2, 3, 4][1 + floor(share(s, 2) * 10)::INTEGER]",
        1.7,
        "exp(share(card, 3) * 4) * (4.85 + 0.3 * share(card, d))",
        "i % 2000",
        "floor(sqrt(share(i, 4)) * 15)",
    ),
    "adverse": Mix(
        "share(s, 1) ** 3 * 200000",
        "1",
        1,
        "exp(share(s, k + 5) * 6 + 1)",
        "floor(share(i, 5) * 2e9)",
        "floor(share(i, 4) * 15)",
    ),
}

SESSIONS = """
    CREATE OR REPLACE TEMP TABLE session_pulls AS
    SELECT d, s, "user", pack, 25 * (1 + pack) AS price, n, quote, least(quote::DOUBLE / price, 5) AS capped
    FROM (
        SELECT *, floor(share(s, k + 10) * 20000)::INTEGER AS card, ({quote})::DECIMAL(18,2)::DECIMAL(18,4) AS quote
        FROM (
            SELECT *, unnest(range(n)) AS k
            FROM (
                SELECT range AS s, (range % {days})::INTEGER AS d, 'user-' || ({users})::INTEGER AS "user",
                    floor(share(s, 3) * share(s, 4) * 12)::INTEGER AS pack, {pulls_a_session} AS n
                FROM range({sessions})
            )
        )
    );
    CREATE OR REPLACE TEMP TABLE sessions AS
    SELECT d, s, any_value("user") AS user_id, count(*) AS n, sum(price) AS spend, sum(quote) AS quoted,
        sum(capped) AS capped, count(*) FILTER (quote >= price) AS wins
    FROM session_pulls GROUP BY d, s
"""
AGGREGATES = {
    "user_days": """
        SELECT d, user_id, count(*) AS purchase_count, count(*) AS fulfilled_count,
            DATE '{first}' + d + to_seconds((min(share(s, 6)) * 86399)::INTEGER) AS first_purchased_at,
            DATE '{first}' + d + to_seconds((max(share(s, 6)) * 86399)::INTEGER) AS last_purchased_at
        FROM sessions GROUP BY d, user_id
    """,
    "user_daily_quote_counts": """
        SELECT d, user_id, sum(n) AS pull_count, sum(n) AS quoted_pull_count, count(*) AS session_count,
            sum(spend) AS spend_usd, sum(quoted) AS buyback_total_usd, sum(n * n) AS quotes_squared,
            sum(capped) AS capped, sum(capped * capped) AS capped_squared, sum(capped * n) AS capped_times_quotes
        FROM sessions GROUP BY d, user_id
    """,
    "daily_quote_counts": """
        SELECT d, DATE '{first}' + d AS pulled_date, 'pack-' || pack AS pack_id, 'enft' AS item_type,
            price * p.n AS session_price_usd, p.n AS pulls_a_session, quote AS buyback_price_usd,
            count(*) AS pull_count, count(*) AS on_chain_count, count(*) AS session_count, sum(p.n) AS session_quotes,
            sum(p.n * p.n) AS session_quotes_squared, sum(wins) AS session_wins, sum(p.n) AS session_ranks,
            sum(t.capped) AS session_capped, sum(t.capped ** 2) AS session_capped_squared,
            sum(t.capped * p.n) AS session_capped_times_quotes
        FROM session_pulls AS p JOIN sessions AS t USING (d, s) GROUP BY ALL
    """,
}
ITEM_ROWS = """
    SELECT 'item-' || i AS item_id, label, 'category ' || hash(label) % 6 AS category,
        'Set number ' || label % 2000 AS set_name, 1990 + hash(label, 1) % 36 AS year_number,
        ['PSA', 'BGS', 'CGC'][1 + (grade % 3)::INTEGER] AS grader, 10 - grade // 3 / 2 AS grade_number,
        'GEM' AS grade_label, round(exp(share(i % 20000, 6) * 4) * 5, 2) AS latest_buyback_price_usd,
        latest_buyback_price_usd AS max_buyback_price_usd, latest_buyback_price_usd AS insured_value_usd,
        10 AS pull_count
    FROM (SELECT range AS i, ({label})::BIGINT AS label, ({grade})::BIGINT AS grade FROM range({items}))
    ORDER BY item_id
"""


def opened() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(macros() + time_macros(datetime(2027, 1, 3, tzinfo=UTC), 0))
    connection.execute("CREATE TEMP MACRO share(x, y) AS (hash(x, y) >> 32) / 4294967296.0")
    connection.execute("CREATE TEMP VIEW submission_days AS SELECT TIMESTAMPTZ '2027-01-02' AS latest_at")
    return connection


def make_sources(connection: duckdb.DuckDBPyConnection, mix: Mix, pulls: int, folder: Path) -> None:
    """Writes the daily aggregates and `items`, and names them."""
    sessions = round(pulls / mix.mean_pulls)
    connection.execute(SESSIONS.format(**mix._asdict(), days=DAYS, sessions=sessions))
    for name, sql in AGGREGATES.items():
        key = ", ".join(TABLES[name].key)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE made AS {sql.format(first=FIRST_DAY)} ORDER BY d, {key}")
        (folder / name).mkdir()
        for day in range(DAYS):
            write(connection, f"SELECT {typed(connection, name)} FROM made WHERE d = {day}", file_of(folder, name, day))
        name_days(connection, folder, name, range(DAYS))
    items = ITEM_ROWS.format(**mix._asdict(), items=round(ITEMS * pulls / PULLS))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE made AS {items}")
    write(connection, f"SELECT {typed(connection, 'items')} FROM made", folder / "items.parquet")
    connection.execute(f"CREATE OR REPLACE TEMP VIEW items AS FROM '{folder / 'items.parquet'}'")


def typed(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """The declared columns of a table, of which those are NULL that `made` lacks."""
    made = {row[0] for row in connection.execute("DESCRIBE made").fetchall()}
    return ", ".join(f"{c.name if c.name in made else 'NULL'}::{c.type} AS {c.name}" for c in TABLES[name].columns)


def file_of(folder: Path, name: str, day: int) -> Path:
    return folder / name / f"{day:03}.parquet"


def name_days(connection: duckdb.DuckDBPyConnection, folder: Path, name: str, days: Iterable[int]) -> None:
    files = [str(file_of(folder, name, day)) for day in days]
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS FROM read_parquet({files})")


def write(connection: duckdb.DuckDBPyConnection, sql: str, path: Path) -> float:
    """The CPU seconds that it takes to write a query's rows."""
    started = time.process_time()
    connection.execute(f"COPY ({sql}) TO '{path}' (COMPRESSION zstd)")
    return time.process_time() - started


def summed(connection: duckdb.DuckDBPyConnection, folder: Path, name: str, days: range, part: str) -> float:
    """The CPU seconds that it takes to derive a part of a table of two periods from these days."""
    (source,) = TABLES[name].sources
    name_days(connection, folder, source, days)
    seconds = write(connection, query(TABLES[name]), folder / f"{name}-{part}.parquet")
    name_days(connection, folder, source, range(DAYS))
    return seconds


def scanned(connection: duckdb.DuckDBPyConnection, names: Iterable[str]) -> float:
    """The CPU seconds of a plain scan of the columns of these tables that a query names."""
    seconds = 0.0
    for name in names:
        reader = next((TABLES[other] for of in PERIODS.values() for other in of if name in TABLES[other].sources), None)
        text = query(reader or TABLES["set_values"])
        columns = [c.name for c in TABLES[name].columns if c.name in text]
        started = time.process_time()
        connection.execute(f"SELECT {', '.join(f'max({column})' for column in columns)} FROM {name}").fetchall()
        seconds += time.process_time() - started
    return seconds


class Cost(NamedTuple):
    """CPU seconds."""

    scan: float
    again: float
    run: float


def cost(connection: duckdb.DuckDBPyConnection, folder: Path, mart: str) -> Cost:
    closed, periods = DAYS - OPEN_DAYS, PERIODS[mart]
    sources = [source for name in periods for source in TABLES[name].sources] or ["items"]
    again = sum(summed(connection, folder, name, range(closed), "closed") for name in periods)
    run = sum(summed(connection, folder, name, range(closed, DAYS), "open") for name in periods)
    for name in periods:
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS FROM '{folder / name}-*.parquet'")
    own = write(connection, query(TABLES[mart]), folder / f"{mart}.parquet")
    return Cost(scanned(connection, sources), again + run + own, run + own)


def main() -> None:
    pulls = int(sys.argv[1]) if len(sys.argv) > 1 else PULLS
    table = Printed(title=f"CPU seconds of a daily run at {pulls:,} pulls of history")
    for heading in ("mix", "table", "plain scan", "all sums again", "a run", "of all again"):
        table.add_column(heading, justify="left" if heading in ("mix", "table") else "right")
    for name, mix in MIXES.items():
        with tempfile.TemporaryDirectory() as folder, opened() as connection:
            make_sources(connection, mix, pulls, Path(folder))
            costs = {mart: cost(connection, Path(folder), mart) for mart in PERIODS}
        costs["together"] = Cost(*map(sum, zip(*costs.values(), strict=True)))
        for mart, found in costs.items():
            table.add_row(name, mart, *(f"{seconds:.2f}" for seconds in found), f"{found.run / found.again:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
