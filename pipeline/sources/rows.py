"""Validates records of submissions and sellbacks: the rules for each column.

A row is accepted or rejected as a whole. If a row were accepted without an invalid field, the missing value would stand
as the session's first detail; a rejected row can be corrected and submitted again.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from pipeline.sources.columns import RowError
from pipeline.sources.listing import printable

MAX_SESSION_ID_LENGTH = 256
MAX_TEXT_LENGTH = 4096
PRICE_LIMIT = Decimal(10) ** 11
_MAX_QUANTITY = 2**31 - 1
_WHOLE_BELOW = 10**15  # beyond it, a float may differ from the written digits
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}|[0-9]{4}-?W[0-9]{2}(-?[0-9])?)([T ].*)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Submission:
    """One accepted row. `initiated_at` is aware, in UTC; `price_usd` has 4 decimal places."""

    session_id: str
    initiated_at: datetime | None
    pack_id: str | None
    price_usd: Decimal | None
    quantity: int | None
    user_id: str | None


@dataclass(frozen=True, slots=True)
class Sellback:
    """One accepted record of a sellback. `sold_at` is aware, in UTC; `amount_usd` has 4 decimal places."""

    item_id: str
    session_id: str | None
    sold_at: datetime
    amount_usd: Decimal | None


_Reader = Callable[[str, object], Any]


def parse_submission(record: Mapping[str, Any]) -> Submission:
    """The submission of a record. Raises RowError with all its errors."""
    return Submission(**_values(record, _OF_SUBMISSIONS))


def parse_sellback(record: Mapping[str, Any]) -> Sellback:
    """The sellback of a record. Raises RowError with all its errors."""
    return Sellback(**_values(record, _OF_SELLBACKS))


def _values(record: Mapping[str, Any], readers: Mapping[str, _Reader]) -> dict[str, Any]:
    try:
        return {field: reader(field, record.get(field)) for field, reader in readers.items()}
    except Exception:
        return _values_or_faults(record, readers)


def _values_or_faults(record: Mapping[str, Any], readers: Mapping[str, _Reader]) -> dict[str, Any]:
    """The same field by field, which takes longer. Raises RowError with all errors of the record."""
    faults: list[RowError] = []
    values = {field: _read(reader, field, record.get(field), faults) for field, reader in readers.items()}
    if faults:
        shown = [fault.raw_value for fault in faults if fault.raw_value is not None]
        raise RowError("; ".join(str(fault) for fault in faults), ", ".join(shown) if shown else None)
    return values


def _read(reader: _Reader, field: str, value: object, faults: list[RowError]) -> Any:
    try:
        if isinstance(value, RowError):
            raise value
        return reader(field, value)
    except RowError as fault:
        faults.append(fault)
    except MemoryError:
        raise
    except Exception as error:
        # An unforeseen value must not stop the intake of the other rows.
        faults.append(RowError(f"{field} cannot be read: {error or type(error).__name__}", value))
    return None


def readable_session_id(record: Mapping[str, Any]) -> str | None:
    """The record's session_id; None if unreadable."""
    text: str | None = _read(_session_id, "session_id", record.get("session_id"), [])
    return text


def session_id_problem(text: str) -> str | None:
    """The reason why the text is not a valid session_id; None if it is valid."""
    if not text:
        return "session_id is empty"
    if len(text) > MAX_SESSION_ID_LENGTH:
        return f"session_id has {len(text)} characters; at most {MAX_SESSION_ID_LENGTH} are allowed"
    if not text.isprintable() or " " in text:  # all other white space is unprintable
        return "session_id has white space or unprintable characters"
    return None


def _session_id(field: str, value: object) -> str:
    text = _shown_text(field, value) or ""
    problem = session_id_problem(text)
    if problem:
        raise RowError(problem, text or None)
    return text


def _known_session_id(field: str, value: object) -> str | None:
    return None if _shown_text(field, value) is None else _session_id(field, value)


def _required(reader: _Reader) -> _Reader:
    def read(field: str, value: object) -> Any:
        found = reader(field, value)
        if found is None:
            raise RowError(f"{field} is empty")
        return found

    return read


def _text(field: str, value: object) -> str | None:
    text = _shown_text(field, value)
    if text is not None and len(text) > MAX_TEXT_LENGTH:
        raise RowError(f"{field} has {len(text)} characters; at most {MAX_TEXT_LENGTH} are allowed", text)
    return text


def _shown_text(field: str, value: object) -> str | None:
    """The text without surrounding white space, and without trailing NULs, with which some systems pad it."""
    if value is None:
        return None
    text = (value if isinstance(value, str) else _as_text(field, value)).strip().rstrip("\0").rstrip()
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RowError(f"{field} is not valid Unicode", printable(text)) from None
    return text or None


def _as_text(field: str, value: object) -> str:
    if isinstance(value, bytes):
        return _decoded(field, value)
    if isinstance(value, float | Decimal) and -_WHOLE_BELOW < value < _WHOLE_BELOW and value == int(value):
        value = int(value)  # pandas writes whole numbers as 13.0 in a column with gaps
    if isinstance(value, bool) or not isinstance(value, int | uuid.UUID):
        raise RowError(f"{field} is not text", value)
    return str(value)


def _decoded(field: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise RowError(f"{field} is not valid UTF-8", value.decode("utf-8", "replace")) from None


def _time(field: str, value: object) -> datetime | None:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        text = _text(field, value)
        if text is None:
            return None
        try:
            # The pattern comes first, since fromisoformat also accepts milliseconds since 1970, as a date long ago.
            value = datetime.fromisoformat(text) if _TIME.match(text) else None
        except ValueError:
            value = None
        if value is None:
            raise RowError(f"{field} is not an ISO 8601 time", text)
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise RowError(f"{field} is out of range", value) from None


def _number(field: str, value: object) -> Decimal | None:
    if isinstance(value, float):
        value = repr(value)
    if not isinstance(value, Decimal):
        text = _text(field, value)
        if text is None:
            return None
        if "_" in text:  # Python's own notation
            raise RowError(f"{field} is not a number", text)
        try:
            value = Decimal(text)
        except InvalidOperation:
            raise RowError(f"{field} is not a number", text) from None
    if not value.is_finite():
        raise RowError(f"{field} is not a finite number", value)
    return value


def _price(field: str, value: object) -> Decimal | None:
    number = _number(field, value)
    if number is None:
        return None
    if number < 0 or number >= PRICE_LIMIT:
        raise RowError(f"{field} is not in the range from 0 to below 10^11", value)
    return number.quantize(Decimal("0.0001"), ROUND_HALF_UP)


def _quantity(field: str, value: object) -> int | None:
    number = _number(field, value)
    if number is None:
        return None
    if not 1 <= number <= _MAX_QUANTITY or number != number.to_integral_value():
        raise RowError(f"{field} is not a whole number of at least 1", value)
    return int(number)


_OF_SUBMISSIONS: dict[str, _Reader] = {
    "session_id": _session_id,
    "initiated_at": _time,
    "pack_id": _text,
    "price_usd": _price,
    "quantity": _quantity,
    "user_id": _text,
}
_OF_SELLBACKS: dict[str, _Reader] = {
    "item_id": _required(_text),
    "session_id": _known_session_id,
    "sold_at": _required(_time),
    "amount_usd": _price,
}
