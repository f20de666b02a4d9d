"""Escapes text in CSV that a spreadsheet would run as a formula, and removes the escape again.

The escape is a leading apostrophe, which marks a cell as text. Text that begins with apostrophes gets one more, so that
removing one restores it.
"""

from __future__ import annotations

import re

# The beginning of a cell that spreadsheets run as a formula, including tabs, line breaks and full-width characters of
# East Asian keyboards. https://owasp.org/www-community/attacks/CSV_Injection
# Python and DuckDB both use this pattern.
NEEDS_ESCAPE = "^'*[=+@\\-\\t\\r\\n\uff1d\uff0b\uff0d\uff20]"

_ESCAPED = re.compile(f"'{NEEDS_ESCAPE[1:]}")


def escaped(text: str) -> str:
    """The text as a CSV cell."""
    return f"'{text}" if re.match(NEEDS_ESCAPE, text) else text


def unescaped(cell: str) -> str:
    """The text of a CSV cell."""
    return cell[1:] if cell.startswith("'") and _ESCAPED.match(cell) else cell
