"""The trace of a session: its submissions, answers, rows and issues.

Each chapter is a title and a query over views of every table; `$session_id` is the session.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb

from pipeline.schema import PUBLISHED
from pipeline.schema.raw import SESSION_SUBMISSIONS, STATUS_RESPONSES
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory

CHAPTERS = {
    "Submitted": """
        SELECT submitted_at, source_file, row_number AS row,
            coalesce('rejected: ' || rejected_reason, 'accepted') AS result,
            initiated_at, pack_id, price_usd, quantity, user_id
        FROM session_submissions WHERE session_id = $session_id ORDER BY submitted_at, source_file, row_number
    """,
    "Polled": """
        SELECT requested_at, http_status AS status, outcome, detail, raw_file, raw_row
        FROM status_responses WHERE session_id = $session_id ORDER BY requested_at, received_at
    """,
    "Purchase": "SELECT * FROM purchases WHERE session_id = $session_id",
    "Pulls": """
        SELECT pull_number, item_id, item_type, buyback_price_usd, name, pulled_at, resolved_at,
            (SELECT count(*) FROM item_attributes AS a
             WHERE a.session_id = pulls.session_id AND a.pull_number = pulls.pull_number) AS attributes
        FROM pulls WHERE session_id = $session_id ORDER BY pull_number
    """,
    "Sold back": """
        SELECT pull_number, item_id, sold_at, amount_usd, buyback_price_usd, quote_age_seconds, source_file
        FROM sellbacks WHERE session_id = $session_id ORDER BY pull_number
    """,
    "Issues": """
        SELECT observed_at, severity, rule, pull_number, field, detail, raw_value, source
        FROM data_issues WHERE session_id = $session_id ORDER BY observed_at, rule, pull_number
    """,
}


def trace(data: DataDirectory, session_id: str) -> Iterator[tuple[str, duckdb.DuckDBPyConnection]]:
    """Yields the chapters with rows: a title, and a cursor that is valid until the next chapter."""
    store = data.store
    with connect(data) as connection:
        for table in (SESSION_SUBMISSIONS, *PUBLISHED):
            connection.execute(f"CREATE TEMP VIEW {table.name} AS FROM {store.scan(table)}")
        connection.execute(f"CREATE TEMP VIEW status_responses AS {store.scan_with_origin(STATUS_RESPONSES)}")
        for title, chapter in CHAPTERS.items():
            parameters = {"session_id": session_id}
            if connection.execute(f"SELECT 1 FROM ({chapter}) LIMIT 1", parameters).fetchone():
                yield title, connection.execute(chapter, parameters)


def trace_record(data: DataDirectory, session_id: str) -> dict[str, Any] | None:
    """The session's id, and the rows of each chapter as dictionaries, under the chapter's title in snake case.

    Chapters without rows are empty lists; None if no chapter has any.
    """
    found = {}
    for title, chapter in trace(data, session_id):
        names = [column[0] for column in chapter.description or []]
        found[key_of(title)] = [dict(zip(names, row, strict=True)) for row in chapter.fetchall()]
    return {"session_id": session_id} | {key_of(title): [] for title in CHAPTERS} | found if found else None


def key_of(title: str) -> str:
    """The key of a chapter in the record."""
    return title.lower().replace(" ", "_")
