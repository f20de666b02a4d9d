"""The text of a day's answers as DuckDB can read it.

Nearly every answer is JSON to DuckDB as it came. The rest is rewritten: the same document, with a
replacement character for each lone surrogate, which is no character, and with the last of each
repeated key, which is the one that counted when the answer was given its meaning. Numbers keep
their digits. The raw body stays as it is.
"""

from __future__ import annotations

import json
from typing import Any

import duckdb

from pipeline.polling.answers import REPEATED_KEYS

_READABLE = "('fulfilled', 'failed', 'pending')"
_BYTE_ORDER_MARK = 65279


def create_answers(connection: duckdb.DuckDBPyConnection) -> None:
    """Defines the view `answers` (session_id, received_at, body_sha256, outcome, text) over `status_responses`."""
    text = f"ltrim(decode(body), chr({_BYTE_ORDER_MARK}))"
    unreadable = connection.execute(
        "SELECT DISTINCT body_sha256, body FROM status_responses "
        f"WHERE outcome IN {_READABLE} AND (detail = $repeated_keys OR NOT json_valid({text}))",
        {"repeated_keys": REPEATED_KEYS},
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
    document = json.loads(body.decode("utf-8-sig"), parse_int=_Digits, parse_float=_Digits)
    return _text(document).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Digits(str):
    """A number as it was written."""


def _text(value: Any) -> str:
    match value:
        case _Digits():
            return str(value)
        case dict():
            return "{" + ",".join(f"{_text(key)}:{_text(member)}" for key, member in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
