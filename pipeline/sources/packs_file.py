"""Reads the optional file `reference/packs.csv`: prices, buyback percentages and published odds of packs.

One row per pack and tier; a pack without tiers has one row. A row is accepted or rejected as a whole, with the reason
and the remedy. A file with broken quoting, header or encoding is rejected as a whole, since shares from an incomplete
list of tiers would be wrong. Rows of a pack with the same `valid_from` are one version of its tiers, which is valid
until the next version. No error here stops a run.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.sources.columns import find_columns
from pipeline.sources.csv_rows import is_blank
from pipeline.sources.formulas import unescaped

COLUMNS = (
    *("pack_id", "name", "price_usd", "buyback_percent", "tier", "fmv_low_usd", "fmv_high_usd", "weight"),
    "valid_from",
)
_OF_THE_TIER = ("tier", "fmv_low_usd", "fmv_high_usd", "weight")
_LIMIT = Decimal(10) ** 11
_AMOUNT: tuple[str, Callable[[Decimal], bool]] = ("from 0 to below 10^11", lambda n: 0 <= n < _LIMIT)
_ALLOWED: dict[str, tuple[str, Callable[[Decimal], bool]]] = {
    "price_usd": _AMOUNT,
    "buyback_percent": ("from 0.01 to 100", lambda n: Decimal("0.01") <= n <= 100),
    "fmv_low_usd": _AMOUNT,
    "fmv_high_usd": _AMOUNT,
    "weight": _AMOUNT,
}
_NO_TIME = datetime.fromtimestamp(0, UTC)
_SHOWN = 200  # characters of a rejected value


class PackFileError(PipelineError):
    """A row of the file, or the whole file, is rejected.

    The message is the reason and the remedy; the caller names the row.
    """

    def __init__(self, reason: str, raw_value: str | None = None) -> None:
        super().__init__(reason)
        self.raw_value = raw_value and raw_value[:_SHOWN]


@dataclass(frozen=True)
class PackRow:
    """A row of the file, as the table `reference_pack_rows` has it; `buyback_share` is the percentage as a share."""

    row_number: int
    modified_at: datetime
    pack_id: str | None = None
    name: str | None = None
    price_usd: Decimal | None = None
    buyback_share: float | None = None
    tier: str | None = None
    fmv_low_usd: Decimal | None = None
    fmv_high_usd: Decimal | None = None
    weight: float | None = None
    valid_from: date | None = None
    rejected_reason: str | None = None
    raw_value: str | None = None


def read_packs(path: Path) -> list[PackRow]:
    """The file's rows, accepted and rejected; none if there is no file."""
    try:
        content = path.read_bytes()
        modified_at = _modified_at(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        # The modification time of an unreadable file is unknown; a fixed one keeps the tables reproducible.
        reason = f"it cannot be read: {error.strerror}; make it a file that this user can read"
        return [PackRow(0, _NO_TIME, rejected_reason=reason)]
    try:
        records = _records(content)
    except PackFileError as error:
        return [PackRow(0, modified_at, rejected_reason=str(error), raw_value=error.raw_value)]
    accepted: dict[str | None, list[PackRow]] = {}
    rows = []
    for number, record in records:
        pack_id = record.get("pack_id")
        try:
            row = _row(number, modified_at, record)
            _check_against(accepted.get(row.pack_id, []), row)
            accepted.setdefault(row.pack_id, []).append(row)
        except PackFileError as error:
            row = PackRow(number, modified_at, pack_id, rejected_reason=str(error), raw_value=error.raw_value)
        rows.append(row)
    return rows


def _modified_at(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except (ValueError, OverflowError):
        return _NO_TIME  # file systems may have times that Python does not support


def _records(content: bytes) -> list[tuple[int, dict[str, str]]]:
    """The values of each row by column, with the number of its last line.

    Raises PackFileError about the whole file.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise PackFileError(f"line {line} is not UTF-8; save the file as CSV in UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines: list[tuple[int, list[str]]] = []
    try:
        lines.extend((reader.line_num, fields) for fields in reader if not is_blank(fields))
    except csv.Error as error:
        raise PackFileError(f"line {reader.line_num} has broken quoting ({error}); correct its quotes") from None
    header = lines[0][1] if lines else []
    found = find_columns(header, COLUMNS)
    if "pack_id" not in found.places or found.repeated:
        raise PackFileError(
            f"its first line lacks the column pack_id or repeats a column; use {', '.join(COLUMNS)}, separated by "
            "commas",
            ",".join(header),
        )
    records = []
    for number, fields in lines[1:]:
        if not is_blank(fields[len(header) :]):
            raise PackFileError(
                f"line {number} has {len(fields)} fields, the first line {len(header)}; quote values that contain "
                "commas",
                ",".join(fields),
            )
        cells = {name: unescaped(fields[place]).strip() for name, place in found.places.items() if place < len(fields)}
        records.append((number, {name: cell for name, cell in cells.items() if cell}))
    return records


def _row(number: int, modified_at: datetime, given: Mapping[str, str]) -> PackRow:
    if "pack_id" not in given:
        raise PackFileError("pack_id is empty; name the pack as submissions do", ",".join(given.values()))
    faults: list[PackFileError] = []
    numbers = {name: _parsed(given, name, faults) for name in _ALLOWED}
    valid_from = _day(given, "valid_from", faults)
    if faults:
        shown = ", ".join(fault.raw_value or "" for fault in faults)
        raise PackFileError("; ".join(str(fault) for fault in faults), shown)
    percent, weight = numbers["buyback_percent"], numbers["weight"]
    low, high = _money(numbers["fmv_low_usd"]), _money(numbers["fmv_high_usd"])
    if any(name in given for name in _OF_THE_TIER):
        missing = [name for name in ("tier", "fmv_low_usd", "weight") if name not in given]
        if missing:
            raise PackFileError(
                f"the tier has no {' and '.join(missing)}; fill in all of {', '.join(_OF_THE_TIER)}, or none"
            )
        if high is not None and low is not None and high <= low:
            raise PackFileError("fmv_high_usd is not above fmv_low_usd; correct the bounds", given["fmv_high_usd"])
    return PackRow(
        number,
        modified_at,
        given["pack_id"],
        given.get("name"),
        _money(numbers["price_usd"]),
        # 0.85 as in the API and 85 mean the same; no buyback percentage is below 1 %.
        None if percent is None else float(percent if percent <= 1 else percent / 100),
        given.get("tier"),
        low,
        high,
        None if weight is None else float(weight),
        valid_from,
    )


def _money(number: Decimal | None) -> Decimal | None:
    return None if number is None else number.quantize(Decimal("0.0001"), ROUND_HALF_UP)


def _day(given: Mapping[str, str], name: str, faults: list[PackFileError]) -> date | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        faults.append(PackFileError(f"{name} is not a day; write it like 2026-01-31", text))
        return None


def _parsed(given: Mapping[str, str], name: str, faults: list[PackFileError]) -> Decimal | None:
    text = given.get(name)
    if text is None:
        return None
    allowed, is_allowed = _ALLOWED[name]
    try:
        number = Decimal(text) if "_" not in text else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or not is_allowed(number):
        faults.append(PackFileError(f"{name} is not a number {allowed}; use digits and a decimal point only", text))
        return None
    return number


def _check_against(accepted: list[PackRow], row: PackRow) -> None:
    """Rejects a row that contradicts an earlier row of the same pack. Raises PackFileError."""
    for other in accepted:
        where = f"row {other.row_number}, which counts"
        for name in ("name", "price_usd", "buyback_share"):
            if name == "buyback_share" and row.valid_from != other.valid_from:
                continue
            ours, theirs = getattr(row, name), getattr(other, name)
            if None not in (ours, theirs) and ours != theirs:
                column = "buyback_percent" if name == "buyback_share" else name
                raise PackFileError(
                    f"{column} differs from that of {where}; give it once, or the same in each row",
                    str(ours),
                )
        if row.tier is None or other.tier is None or row.valid_from != other.valid_from:
            continue
        if row.tier == other.tier:
            raise PackFileError(f"the tier repeats that of {where}; give each tier of a pack once", row.tier)
        if _overlap(row, other):
            raise PackFileError(
                f"its values overlap with those of {where}; end one tier where the next begins",
                f"{row.fmv_low_usd} to {row.fmv_high_usd or 'no end'}",
            )


def _overlap(one: PackRow, other: PackRow) -> bool:
    lower, upper = sorted((one, other), key=lambda row: row.fmv_low_usd or 0)
    end, begin = lower.fmv_high_usd, upper.fmv_low_usd
    return end is None or (begin is not None and begin < end)
