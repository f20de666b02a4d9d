"""The text of a day's answers as DuckDB can read it.

Nearly every answer is JSON to DuckDB as it came. The rest (lone surrogates, which Python's reader
accepted when the answer was given its meaning) is rewritten: the same document, with a replacement
character where no character was. The raw body stays as it is.
"""

from __future__ import annotations

import json

import duckdb

_READABLE = "('fulfilled', 'failed', 'pending')"
_BYTE_ORDER_MARK = 65279


def create_answers(connection: duckdb.DuckDBPyConnection) -> None:
    """Defines the view `answers` (session_id, received_at, body_sha256, outcome, text) over `status_responses`."""
    text = f"ltrim(decode(body), chr({_BYTE_ORDER_MARK}))"
    unreadable = connection.execute(
        "SELECT DISTINCT body_sha256, body FROM status_responses "
        f"WHERE outcome IN {_READABLE} AND NOT json_valid({text})"
    ).fetchall()
    connection.execute("CREATE OR REPLACE TEMP TABLE rewritten (body_sha256 VARCHAR, text VARCHAR)")
    if unreadable:
        connection.executemany(
            "INSERT INTO rewritten VALUES (?, ?)", [(sha, _rewrite(bytes(body))) for sha, body in unreadable]
        )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW answers AS
        SELECT session_id, received_at, responses.body_sha256, outcome, coalesce(rewritten.text, {text}) AS text
        FROM status_responses AS responses LEFT JOIN rewritten USING (body_sha256)
        WHERE outcome IN {_READABLE}
        """
    )


def _rewrite(body: bytes) -> str:
    document = json.loads(body.decode("utf-8-sig"), parse_int=_whole_number)
    text = json.dumps(document, ensure_ascii=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _whole_number(digits: str) -> int | float:
    """Python refuses to read numbers of thousands of digits; beyond these, only the magnitude matters."""
    return int(digits) if len(digits) < 1000 else float(digits)
