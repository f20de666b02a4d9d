"""Prepares the text of a day's answers for DuckDB.

DuckDB can read nearly every answer as received. The others are rewritten: the same document, with a
replacement character for each lone surrogate, which is no character, with the last of each
repeated key, which is the one that counted when the answer was given its meaning, with plain
letters where escapes stood for them, by which alone SQL finds a price's digits, and with an escape
for a colon that begins a text, which SQL would take for the end of a key. Numbers keep their
digits. The raw body stays as it is. An API key that older versions stored in another spelling is
taken out before it would be read in the clear.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import duckdb

from pipeline.polling.redaction import Redaction
from pipeline.schema.raw import STATUS_RESPONSES

_READABLE = "('fulfilled', 'failed', 'unconfirmed', 'pending')"
_BYTE_ORDER_MARK = 65279
TEXT = f"ltrim(decode(body), chr({_BYTE_ORDER_MARK}))"  # of a body, as it came


def create_answers(
    connection: duckdb.DuckDBPyConnection,
    redaction: Redaction,
    responses: str = STATUS_RESPONSES.name,
    quotes_numbers: bool = False,
) -> None:
    """Defines the view `answers` (session_id, received_at, body_sha256, outcome, text) over a relation of responses.

    With `quotes_numbers` the query over it may call `numbers_as_text`.
    """
    hides_numbers = f"seems_to_end_a_key({TEXT})" if quotes_numbers else "false"
    unreadable = connection.execute(
        f"SELECT DISTINCT body_sha256, body FROM {responses} "
        f"WHERE outcome IN {_READABLE} AND "
        f"(repeats_keys(has_repeated_keys, detail) OR has_escaped_letters({TEXT}) OR holds_key({TEXT}) "
        f"OR {hides_numbers} OR NOT json_valid({TEXT}))",
    ).fetchall()
    connection.execute("CREATE OR REPLACE TEMP TABLE rewritten (body_sha256 VARCHAR, text VARCHAR)")
    if unreadable:
        # A new thread has a full stack, so a document that could be read on arrival can be read again.
        with ThreadPoolExecutor(1) as thread:
            texts = thread.map(_rewrite, [redaction.body(bytes(body), is_cut=False) for _, body in unreadable])
            connection.execute(
                "INSERT INTO rewritten SELECT unnest($bodies), unnest($texts)",
                {"bodies": [sha for sha, _ in unreadable], "texts": list(texts)},
            )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW answers AS
        SELECT session_id, received_at, responses.body_sha256, outcome, coalesce(rewritten.text, {TEXT}) AS text
        FROM {responses} AS responses LEFT JOIN rewritten USING (body_sha256)
        WHERE outcome IN {_READABLE}
        """
    )


def _rewrite(body: bytes) -> str:
    document = json.loads(body.decode("utf-8-sig"), parse_int=_Verbatim, parse_float=_Verbatim)
    return _text(document).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Verbatim(str):
    """A number as it was written, or punctuation."""


_LEADING_COLON = re.compile('^(" *):')
_COMMA, _COLON = _Verbatim(","), _Verbatim(":")


def _text(document: Any) -> str:
    """The document as JSON. Not recursive: a document may be nested as deeply as Python can just read."""
    pieces: list[str] = []
    waiting = [document]
    while waiting:
        match waiting.pop():
            case _Verbatim() as text:
                pieces.append(text)
            case dict() as members:
                parts = [part for key, value in members.items() for part in (_COMMA, key, _COLON, value)]
                waiting += [_Verbatim("}"), *reversed(parts[1:]), _Verbatim("{")]
            case list() as entries:
                parts = [part for entry in entries for part in (_COMMA, entry)]
                waiting += [_Verbatim("]"), *reversed(parts[1:]), _Verbatim("[")]
            case value:
                pieces.append(_LEADING_COLON.sub(r"\1\\u003a", json.dumps(value, ensure_ascii=False)))
    return "".join(pieces)
