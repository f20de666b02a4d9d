"""Fingerprints of derivations. A run uses them to detect changed rules and columns."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.schema import TABLES
from pipeline.schema.table import Table, Zone
from pipeline.storage.manifest import digest
from pipeline.transform import answer_text, fulfilled_answers
from pipeline.transform.queries import macros_used_by, query

_PACKAGE = Path(__file__).resolve().parent.parent
_READERS = (Path(answer_text.__file__), Path(fulfilled_answers.__file__))  # Python that reads the text of answers


class Derivations:
    """The fingerprints of tables' derivations, each computed once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, table: Table) -> str:
        """A fingerprint that changes with the table's derivation or any derivation upstream."""
        if table.name not in self._known:
            self._known[table.name] = "" if table.zone is Zone.RAW else self._fingerprint(table)
        return self._known[table.name]

    def _fingerprint(self, table: Table) -> str:
        columns = [(c.name, c.type) for c in table.columns]
        own = query(table) if table.sources else ""
        readers = [path.read_text(encoding="utf-8") for path in _READERS] if table.reads_answer_text else []
        shared = macros_used_by("\n".join([own, *readers]))
        upstream = [*(TABLES[name] for name in table.sources), *table.steps]
        return digest(own, shared, columns, readers, [self.of(source) for source in upstream])


def maker(secret: str | None) -> str:
    """A fingerprint of a process that derives tables: its program, its libraries and the key that it redacts.

    Only 16 bits of the key's hash enter, so that the key cannot be found by trying keys.
    """
    program = [
        (path.relative_to(_PACKAGE).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(_PACKAGE.rglob("*"))
        if path.suffix in (".py", ".sql")
    ]
    key = hashlib.sha256((secret or "").encode()).digest()[:2].hex()
    return digest(program, sys.version_info[:3], duckdb.__version__, pa.__version__, key)
