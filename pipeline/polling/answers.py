"""Interprets answers of buy/status. Pure functions of the received data.

The rules follow the API's reference page and its known behaviour. Only a result with
items, or a 400 with the error `Transaction failed`, is final; all other answers are polled again.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, NamedTuple

from pipeline.polling.document import Repeating, parse
from pipeline.schema.answer import ENVELOPE

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_ITEMS = 100_000  # far beyond any purchase; a body of empty items only would exhaust a build's memory
LONGEST_WAIT = 86_400.0  # seconds; a longer Retry-After is implausible
WAIT_INSTEAD = 60.0  # seconds; replaces an implausible Retry-After
IMPLAUSIBLE_WAIT = "; its Retry-After is implausible: "  # separates a detail from the header's value
_TRANSIENT_STATUSES = frozenset({408, 429})
_FAILED = "Transaction failed"
_LONGEST_VALUE = 100  # characters of a header's value that are stored
NO_CONNECTION = "no connection"  # prefix of an answer's problem if the connection failed
REPEATED_KEYS = "keys are repeated; of each, the last counts"


class Outcome(StrEnum):
    """The meanings. Only `FULFILLED` and `FAILED` are final.

    `UNCONFIRMED` is a failure without a confirming second answer on a fresh connection: a failure names no session, so
    it may belong to another. `FAILED` is a confirmed failure.
    """

    FULFILLED = "fulfilled"
    FAILED = "failed"
    UNCONFIRMED = "unconfirmed"
    PENDING = "pending"
    UNAUTHORIZED = "unauthorized"
    REFUSED = "refused"
    TRANSIENT = "transient"
    MALFORMED = "malformed"

    @property
    def is_final(self) -> bool:
        return self in (Outcome.FULFILLED, Outcome.FAILED)


class Answer(NamedTuple):
    """The result of one request, before its interpretation.

    `status` is None if no answer came; `problem` is the reason. `problem` with a status means
    that the body is incomplete: truncated, or over the limit; `body` is then its beginning.
    `is_unreachable` means that no connection was established.
    """

    status: int | None
    headers: Mapping[str, str]
    body: bytes | None
    problem: str | None = None
    is_unreachable: bool = False


class Meaning(NamedTuple):
    """An outcome with an optional explanation.

    `has_repeated_keys` means that an object of a final or pending answer has a key twice; the last one counts.
    """

    outcome: Outcome
    detail: str | None = None
    has_repeated_keys: bool = False


def interpret(session_id: str, answer: Answer, confirms: bool = False) -> Meaning:
    """The meaning of an answer to a request about `session_id`.

    `confirms` means that the session's last answer was a failure and that this one came on a fresh connection.
    """
    status = answer.status
    if status is None:
        return Meaning(Outcome.TRANSIENT, answer.problem)
    if status == 401:
        return Meaning(Outcome.UNAUTHORIZED, "HTTP 401: the API key is refused")
    if status in _TRANSIENT_STATUSES or status >= 500:
        return Meaning(Outcome.TRANSIENT, f"HTTP {status}")
    if status == 400:
        return _bad_request(answer, confirms)
    if 400 < status < 500:
        return Meaning(Outcome.REFUSED, f"HTTP {status}")
    if status != 200:
        return Meaning(Outcome.MALFORMED, f"HTTP {status} is not an answer that the API documents")
    document = _parse(answer)
    if isinstance(document, str):
        return Meaning(Outcome.MALFORMED, document)
    return _success(session_id, document)


def retry_after(answer: Answer, now: float) -> float | None:
    """The answer's Retry-After header, in seconds or as an HTTP date, as seconds from `now`.

    `now` is in seconds since the epoch. None without a readable header; never below 0; may be implausibly long.
    """
    value = answer.headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, IndexError, TypeError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = moment.timestamp() - now
    return max(seconds, 0.0) if seconds == seconds else None


def with_implausible_wait(meaning: Meaning, answer: Answer) -> Meaning:
    """The meaning with the value of an implausible Retry-After header in its detail."""
    value = " ".join(answer.headers.get("retry-after", "").split())[:_LONGEST_VALUE]
    return meaning._replace(detail=f"{meaning.detail or meaning.outcome}{IMPLAUSIBLE_WAIT}{value}")


def _bad_request(answer: Answer, confirms: bool) -> Meaning:
    document = _parse(answer)
    if isinstance(document, str) or document.get("error") != _FAILED:
        return Meaning(Outcome.REFUSED, "HTTP 400")
    if sum(key in document for key in ENVELOPE) > 1:
        return Meaning(Outcome.MALFORMED, "more than one of result, status and error")
    return _noted(Outcome.FAILED if confirms else Outcome.UNCONFIRMED, document, _FAILED)


def _success(session_id: str, document: dict[str, Any]) -> Meaning:
    given = [key for key in ENVELOPE if key in document]
    if len(given) != 1:
        return Meaning(Outcome.MALFORMED, f"{' and '.join(given) or 'none'} of result, status and error")
    if given == ["status"]:
        if document["status"] == "pending":
            return _noted(Outcome.PENDING, document)
        return Meaning(Outcome.MALFORMED, "a status other than pending")
    if given == ["error"]:
        return Meaning(Outcome.MALFORMED, "HTTP 200 with an error")
    result = document["result"]
    if not isinstance(result, dict):
        return Meaning(Outcome.MALFORMED, "result is not an object")
    items = result.get("nfts")
    if items is not None and not isinstance(items, list):
        return Meaning(Outcome.MALFORMED, "result.nfts is not a list")
    if "session_id" in result and not _is_same_session(session_id, result["session_id"]):
        return Meaning(Outcome.MALFORMED, "result.session_id is another session's")
    if not items:
        return _noted(Outcome.PENDING, document, "a result without items")
    if "session_id" not in result:
        return Meaning(Outcome.MALFORMED, "result has items but no session_id")
    if len(items) > MAX_ITEMS:
        return Meaning(Outcome.MALFORMED, f"result.nfts has {len(items)} items; at most {MAX_ITEMS} are read")
    return _noted(Outcome.FULFILLED, document)


def _is_same_session(asked: str, echoed: Any) -> bool:
    """Whether the echoed id is the requested one: the same text, or the same UUID in another notation."""
    if echoed == asked:
        return True
    try:
        return isinstance(echoed, str) and uuid.UUID(echoed) == uuid.UUID(asked)
    except ValueError:
        return False


def _noted(outcome: Outcome, document: dict[str, Any], detail: str | None = None) -> Meaning:
    """The meaning, with a note of repeated keys: later readers of the document use the last of them as well."""
    if isinstance(document, Repeating):
        return Meaning(outcome, REPEATED_KEYS, has_repeated_keys=True)
    return Meaning(outcome, detail)


def _parse(answer: Answer) -> dict[str, Any] | str:
    """The body as a JSON object, or why it is invalid. The last repeated key counts, except in the envelope."""
    document = answer.problem or parse(answer.body or b"")
    if isinstance(document, Repeating) and (twice := document.repeated.intersection(ENVELOPE)):
        return f"more than one {' and '.join(sorted(twice))}"
    return document
