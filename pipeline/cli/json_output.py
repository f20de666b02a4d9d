"""Writes one JSON object to standard output, as docs/reference/json-output.md describes it."""

from __future__ import annotations

import sys

import msgspec

from pipeline.report.wording import escape_controls

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def print_json(value: object) -> None:
    """Writes the object on one line. Decimals keep their digits, times are ISO 8601 in UTC, NULL is null.

    Control and direction characters are escaped: a terminal does not interpret them, and a JSON reader gets them back.
    """
    line = escape_controls(_ENCODER.encode(value).decode())
    sys.stdout.buffer.write(f"{line}\n".encode())
    sys.stdout.buffer.flush()
