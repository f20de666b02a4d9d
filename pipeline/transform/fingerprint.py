"""Fingerprints of derivations. A run uses them to detect changed rules and columns."""

from __future__ import annotations

from pathlib import Path

from pipeline.schema import TABLES
from pipeline.schema.table import Table, Zone
from pipeline.storage.manifest import digest
from pipeline.transform import answer_text, fulfilled_answers
from pipeline.transform.queries import macros_used_by, query

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
