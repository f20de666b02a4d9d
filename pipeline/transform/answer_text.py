"""Prepares the text of a day's answers for DuckDB.

DuckDB can read nearly every answer as received. The others are rewritten:

- A lone surrogate, which is not a valid character, becomes a replacement character.
- Of repeated keys only the last is kept. It also determined the outcome when the answer was interpreted.
- Escapes of ASCII letters become these letters, because SQL finds a price's digits by the plain key.
- A colon at the beginning of a text is escaped, because SQL would take its opening quote for the end of a key.

Numbers keep their digits, and the raw body is unchanged. Earlier versions may have stored the API key in another
spelling; it is redacted before decoding would reveal it.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import duckdb

from pipeline.polling.redaction import Redaction

_READABLE = "('fulfilled', 'failed', 'unconfirmed', 'pending')"
_BYTE_ORDER_MARK = 65279
TEXT = f"ltrim(decode(body), chr({_BYTE_ORDER_MARK}))"  # the text of a body as received


def create_answers(
    connection: duckdb.DuckDBPyConnection,
    redaction: Redaction,
    responses: str,
    quotes_numbers: bool = False,
) -> None:
    """Defines the view `answers` (session_id, received_at, body_sha256, outcome, text) over a relation of responses.

    With `quotes_numbers`, a query over it may call `numbers_as_text`.
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
        # A new thread starts with an empty stack, so a document that was parsed on arrival can be parsed again.
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
    """A number as sent, or punctuation."""


_LEADING_COLON = re.compile('^(" *):')
_COMMA, _COLON = _Verbatim(","), _Verbatim(":")


def _text(document: Any) -> str:
    """The document as JSON. Not recursive, because documents may be nested as deeply as Python's parser allows."""
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
