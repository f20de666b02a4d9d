"""Reads the fulfilled answers of a day into the rows of `fulfilled_results`.

Nearly every answer is plain: each value is of the kind that belongs there, and one call reads it. What that leaves
without items is strange, and is read value by value, by a query of its own: on few answers, planning that query takes
longer than all else, so strange answers are gathered until they are many, or the last. So are the answers of sessions
that have several, of which the day's first counts.
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
_STRANGE_BYTES_AT_ONCE = _BYTES_AT_ONCE // 4  # reading value by value holds each of them several times

_SESSIONS_WITH_SEVERAL = """
    CREATE OR REPLACE TEMP TABLE sessions_with_several AS
    SELECT session_id FROM status_responses WHERE outcome = 'fulfilled' GROUP BY session_id HAVING count(*) > 1
"""
# The sizes come out of a query of their own, or the window would hold the bodies.
_TIMES = """
    SELECT min(received_at)::VARCHAR FROM (
        SELECT received_at, sum(size) OVER (ORDER BY received_at) // $at_once AS chunk FROM (
            SELECT received_at, octet_length(body) + $a_row AS size FROM status_responses WHERE outcome = 'fulfilled'
        )
    )
    GROUP BY chunk ORDER BY chunk
"""
_CHUNK = """
    CREATE OR REPLACE TEMP VIEW chunk AS
    FROM status_responses
    WHERE outcome = 'fulfilled' AND received_at >= TIMESTAMPTZ '{since}' AND received_at < TIMESTAMPTZ '{until}'
        AND session_id NOT IN (FROM sessions_with_several)
"""
# Where keys are repeated, the last of them counts, and the one call would read another.
_ANSWERS = f"""
    CREATE OR REPLACE TEMP VIEW answers AS
    SELECT session_id, received_at, body_sha256, outcome,
        CASE WHEN detail IS DISTINCT FROM '{REPEATED_KEYS}' THEN {TEXT} END AS text
    FROM chunk
"""
_NO_STRANGE_RESPONSES = """
    CREATE OR REPLACE TEMP TABLE strange_responses AS
    SELECT session_id, received_at, body_sha256, body, outcome, detail FROM status_responses WHERE false
"""
_SET_ASIDE = """
    INSERT INTO strange_responses SELECT session_id, received_at, body_sha256, body, outcome, detail
    FROM {responses} WHERE outcome = 'fulfilled' AND session_id IN ({sessions})
"""
_SIZE_OF_STRANGE = "SELECT coalesce(sum(octet_length(body) + $a_row), 0) FROM strange_responses"


def read_results(connection: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    """The day's rows of `fulfilled_results`, out of the view `status_responses`; strange ones follow the others."""
    connection.execute(_SESSIONS_WITH_SEVERAL)
    connection.execute(_NO_STRANGE_RESPONSES)
    times = connection.execute(_TIMES, {"at_once": _BYTES_AT_ONCE, "a_row": _BYTES_A_ROW}).fetchall()
    for (since,), (until,) in itertools.pairwise([*times, ("infinity",)]):
        connection.execute(_CHUNK.format(since=since, until=until))
        connection.execute(_ANSWERS)
        strange: list[str] = []
        # A relation's rows become Arrow on every core, a cursor's on one alone.
        for batch in connection.sql(query(FULFILLED_RESULTS)).to_arrow_table(ROWS_A_BATCH).to_batches():
            if not batch["item_count"].null_count:
                yield batch
                continue
            is_read = batch["item_count"].is_valid()
            strange += batch["session_id"].filter(pc.invert(is_read)).to_pylist()
            yield batch.filter(is_read)
        if strange:
            set_aside = _SET_ASIDE.format(responses="chunk", sessions="SELECT unnest($sessions::VARCHAR[])")
            connection.execute(set_aside, {"sessions": strange})
            ((size,),) = connection.execute(_SIZE_OF_STRANGE, {"a_row": _BYTES_A_ROW}).fetchall()
            if size >= _STRANGE_BYTES_AT_ONCE:
                yield from _read_strange(connection)
    if _has_rows(connection, "sessions_with_several"):
        sessions = "FROM sessions_with_several"
        connection.execute(_SET_ASIDE.format(responses="status_responses", sessions=sessions))
    if _has_rows(connection, "strange_responses"):
        yield from _read_strange(connection)


def _read_strange(connection: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    """The rows of the answers that were set aside, which are then forgotten."""
    create_answers(connection, "strange_responses")
    (step,) = FULFILLED_RESULTS.steps
    yield from stream(connection, query(step))
    connection.execute(_NO_STRANGE_RESPONSES)


def _has_rows(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    return connection.execute(f"SELECT true FROM {table} LIMIT 1").fetchone() is not None
