"""Reads the fulfilled answers of a day into the rows of `fulfilled_results`.

Nearly every answer is plain: each value is of the kind that belongs there, and one call reads it. What that leaves
without items is strange. Strange answers, and those of sessions that have several, are read value by value, by a query
of its own: nearly every day has none, and on one of few sessions planning how to read them would take longer than
all else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.lake.database import ROWS_A_BATCH, stream
from pipeline.polling.answers import REPEATED_KEYS
from pipeline.schema.staging import FULFILLED_RESULTS
from pipeline.tables.answer_text import TEXT, create_answers
from pipeline.tables.queries import query

# Bytes of answers that are held at once, as rows, twice: while some are written the next are read, by every core.
# Rows of the shortest answers take much more than their text.
_BYTES_AT_ONCE = 192 << 20
_BYTES_A_ROW = 4_800

_SESSIONS_TO_READ_WITH_CARE = """
    CREATE OR REPLACE TEMP TABLE strange_sessions AS
    SELECT session_id FROM status_responses WHERE outcome = 'fulfilled'
    GROUP BY session_id HAVING count(*) > 1 OR bool_or(detail IS NOT DISTINCT FROM $repeated_keys)
"""
_TIMES = """
    SELECT min(received_at)::VARCHAR FROM (
        SELECT received_at, sum(octet_length(body) + $a_row) OVER (ORDER BY received_at) // $at_once AS chunk
        FROM status_responses WHERE outcome = 'fulfilled'
    )
    GROUP BY chunk ORDER BY chunk
"""
_ANSWERS_BETWEEN = f"""
    CREATE OR REPLACE TEMP VIEW answers AS
    SELECT session_id, received_at, body_sha256, outcome, {TEXT} AS text FROM status_responses
    WHERE outcome = 'fulfilled' AND received_at >= TIMESTAMPTZ '{{since}}' AND received_at < TIMESTAMPTZ '{{until}}'
        AND session_id NOT IN (FROM strange_sessions)
"""
_STRANGE_ANSWERS = """
    CREATE OR REPLACE TEMP VIEW strange_answers AS
    FROM status_responses WHERE outcome = 'fulfilled' AND session_id IN (FROM strange_sessions)
"""


def read_results(connection: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    """The day's rows of `fulfilled_results`, out of the view `status_responses`: the strange ones at the end."""
    connection.execute(_SESSIONS_TO_READ_WITH_CARE, {"repeated_keys": REPEATED_KEYS})
    times = connection.execute(_TIMES, {"at_once": _BYTES_AT_ONCE, "a_row": _BYTES_A_ROW}).fetchall()
    strange: list[str] = []
    for (since,), (until,) in itertools.pairwise([*times, ("infinity",)]):
        connection.execute(_ANSWERS_BETWEEN.format(since=since, until=until))
        # A relation's rows become Arrow on every core, a cursor's on one alone.
        for batch in connection.sql(query(FULFILLED_RESULTS)).to_arrow_table(ROWS_A_BATCH).to_batches():
            if not batch["item_count"].null_count:
                yield batch
                continue
            is_read = batch["item_count"].is_valid()
            strange += batch["session_id"].filter(pc.invert(is_read)).to_pylist()
            yield batch.filter(is_read)
    connection.execute("INSERT INTO strange_sessions SELECT unnest($sessions::VARCHAR[])", {"sessions": strange})
    if connection.execute("SELECT true FROM strange_sessions LIMIT 1").fetchone():
        connection.execute(_STRANGE_ANSWERS)
        create_answers(connection, "strange_answers")
        (step,) = FULFILLED_RESULTS.steps
        yield from stream(connection, query(step))
