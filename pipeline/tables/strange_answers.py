"""The answers of a day that are read value by value: strange ones, and those of sessions that have several.

Nearly every day has none. On a day of few sessions, planning how to read them would take longer than all else,
so it is a query of its own.
"""

from __future__ import annotations

import duckdb

from pipeline.schema.staging import FULFILLED_RESULTS
from pipeline.tables.queries import query

_STRANGE_SESSIONS = """
    CREATE OR REPLACE TEMP TABLE strange_sessions AS
    SELECT session_id FROM answers WHERE outcome = 'fulfilled'
    GROUP BY session_id HAVING are_strange(text)
"""


def create_strange_results(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes the table `strange_results`, a row for each strange session of the day, out of the view `answers`."""
    (step,) = FULFILLED_RESULTS.steps
    columns = ", ".join(f'"{c.name}" {c.type}' for c in step.columns)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {step.name} ({columns})")
    connection.execute(_STRANGE_SESSIONS)
    if connection.execute("SELECT true FROM strange_sessions LIMIT 1").fetchone():
        connection.execute(f"INSERT INTO {step.name} {query(step)}")
