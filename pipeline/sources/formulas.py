"""How CSV keeps a spreadsheet from running text as a formula, and how that is taken back.

A leading apostrophe tells a spreadsheet that a cell is text. Text that begins with apostrophes itself gets one more, so
that taking one away gives the text back.
"""

from __future__ import annotations

import re

# A cell that starts so is run as a formula, also behind a tab or a line break, and in the wide forms of East Asian
# keyboards. https://owasp.org/www-community/attacks/CSV_Injection
# The pattern is read by Python and by DuckDB.
NEEDS_ESCAPE = "^'*[=+@\\-\\t\\r\\n\uff1d\uff0b\uff0d\uff20]"

_ESCAPED = re.compile(f"'{NEEDS_ESCAPE[1:]}")


def escaped(text: str) -> str:
    """The text as a cell of CSV."""
    return f"'{text}" if re.match(NEEDS_ESCAPE, text) else text


def unescaped(cell: str) -> str:
    """The text that a cell of CSV stands for."""
    return cell[1:] if cell.startswith("'") and _ESCAPED.match(cell) else cell
