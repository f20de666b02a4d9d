"""Reads the fulfilled answers of a part of a day into the rows of `fulfilled_results`.

Nearly every answer is plain: every value has the documented kind, and one call parses the answer. The slow path is a
separate query that reads the other answers value by value. Planning this query takes longer than running it on a few
answers, so these answers are gathered into larger batches. Sessions with several answers in a part also take the slow
path; the first answer of the part counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.polling.redaction import Redaction
from pipeline.schema.staging import FULFILLED_RESULTS
from pipeline.storage.connection import ROWS_A_BATCH, stream
from pipeline.transform.answer_text import TEXT, create_answers
from pipeline.transform.queries import query

# Bytes of answers in memory at once, as rows. Memory use is twice that, because the next batch is parsed, on all cores,
# while one is written. The rows of short answers take much more memory than their text; the second constant covers it.
_BYTES_AT_ONCE = 192 << 20
_BYTES_A_ROW = 4_800
_STRANGE_BYTES_AT_ONCE = _BYTES_AT_ONCE // 4  # the slow path keeps several copies

_SESSIONS_WITH_SEVERAL = """
    CREATE OR REPLACE TEMP TABLE sessions_with_several AS
    SELECT session_id FROM status_responses WHERE outcome = 'fulfilled' GROUP BY session_id HAVING count(*) > 1
"""
# The inner query reduces bodies to sizes; otherwise the window would keep the bodies in memory.
_TIMES = """
    SELECT min(received_at)::VARCHAR FROM (
        SELECT received_at, sum(size) OVER (ORDER BY received_at) // $at_once AS chunk FROM (
            SELECT received_at, octet_length(body) + $a_row AS size FROM status_responses WHERE outcome = 'fulfilled'
        )
    )
    GROUP BY chunk ORDER BY chunk
"""
# If keys are repeated, the last one counts, but the fast parser would take another.
_ANSWERS_BETWEEN = f"""
    CREATE OR REPLACE TEMP VIEW answers AS
    SELECT session_id, received_at, body_sha256, body, outcome,
        repeats_keys(has_repeated_keys, detail) AS has_repeated_keys,
        CASE WHEN NOT repeats_keys(has_repeated_keys, detail) AND NOT holds_key({TEXT}) THEN {TEXT} END AS text
    FROM status_responses
    WHERE outcome = 'fulfilled' AND received_at >= TIMESTAMPTZ '{{since}}' AND received_at < TIMESTAMPTZ '{{until}}'
"""
_GATHERED_RESPONSES = """
    CREATE OR REPLACE TEMP VIEW strange_responses AS
    SELECT session_id, received_at, body_sha256, strange.body AS body, 'fulfilled' AS outcome, NULL::VARCHAR AS detail,
        strange.has_repeated_keys AS has_repeated_keys
    FROM gathered
"""
_RESPONSES_OF_SEVERAL = """
    CREATE OR REPLACE TEMP VIEW strange_responses AS
    FROM status_responses WHERE outcome = 'fulfilled' AND session_id IN (FROM sessions_with_several)
"""


def read_results(connection: duckdb.DuckDBPyConnection, redaction: Redaction) -> Iterator[pa.RecordBatch]:
    """The part's rows of `fulfilled_results` from the view `status_responses`: plain answers, then the slow path."""
    connection.execute(_SESSIONS_WITH_SEVERAL)
    several = connection.execute("FROM sessions_with_several").to_arrow_table()["session_id"]
    times = connection.execute(_TIMES, {"at_once": _BYTES_AT_ONCE, "a_row": _BYTES_A_ROW}).fetchall()
    strange: list[pa.RecordBatch] = []
    for (since,), (until,) in itertools.pairwise([*times, ("infinity",)]):
        connection.execute(_ANSWERS_BETWEEN.format(since=since, until=until))
        # A relation is converted to Arrow on all cores, a cursor on one.
        for every in connection.sql(query(FULFILLED_RESULTS)).to_arrow_table(ROWS_A_BATCH).to_batches():
            # Not excluded in SQL: on several threads a join does not keep the order of the rows.
            batch = every.filter(pc.invert(pc.is_in(every["session_id"], several))) if len(several) else every
            is_read = batch["strange"].is_null()
            rows = batch.drop_columns(["strange"])
            if is_read.true_count == batch.num_rows:
                yield rows
                continue
            found = batch.select(["session_id", "received_at", "body_sha256", "strange"])
            strange.append(found.filter(pc.invert(is_read)))
            yield rows.filter(is_read)
        if sum(batch.nbytes + batch.num_rows * _BYTES_A_ROW for batch in strange) >= _STRANGE_BYTES_AT_ONCE:
            yield from _read_gathered(connection, redaction, strange)
            strange = []
    if strange:
        yield from _read_gathered(connection, redaction, strange)
    if connection.execute("SELECT true FROM sessions_with_several LIMIT 1").fetchone():
        connection.execute(_RESPONSES_OF_SEVERAL)
        yield from _read_strange(connection, redaction)


def _read_gathered(
    connection: duckdb.DuckDBPyConnection, redaction: Redaction, strange: list[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    connection.register("gathered", pa.Table.from_batches(strange))
    connection.execute(_GATHERED_RESPONSES)
    yield from _read_strange(connection, redaction)
    connection.unregister("gathered")


def _read_strange(connection: duckdb.DuckDBPyConnection, redaction: Redaction) -> Iterator[pa.RecordBatch]:
    """The rows of the answers in the view `strange_responses`, by the slow path."""
    create_answers(connection, redaction, "strange_responses", quotes_numbers=True)
    (step,) = FULFILLED_RESULTS.steps
    yield from stream(connection, query(step))
