"""The context shared by the build strategies: connection, objects, manifest, and the writing of parts."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.polling.redaction import Redaction
from pipeline.schema import RAW, TABLES
from pipeline.schema.staging import FULFILLED_RESULTS
from pipeline.schema.table import Table, Zone
from pipeline.storage.compaction import identity
from pipeline.storage.connection import connect, stream
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.day_parts import day_of, minutes_of
from pipeline.storage.manifest import Manifest, Part, Statistics, digest, inputs_of, new_version
from pipeline.storage.month_copies import MonthCopies
from pipeline.storage.object_writer import ObjectWriter
from pipeline.storage.prebuilt import Adopted, Prebuilt
from pipeline.transform.answer_text import create_answers
from pipeline.transform.build_report import BuildReport
from pipeline.transform.fingerprint import Derivations, maker
from pipeline.transform.fulfilled_answers import read_results
from pipeline.transform.inspection import Inspection
from pipeline.transform.queries import IS_CHOSEN, answers_of, macros, query, time_macros
from pipeline.transform.raw_parts import RawParts
from pipeline.transform.whole_tables import WholeTables

_NO_DAYS = "no-days-yet"
_NO_STATISTICS = Statistics()


class BuildContext:
    """The tables of one data directory as of `now`. `expire_after` is in seconds, 0 = never; `secret` is the key.

    Use as a context manager. Only the holder of the directory's lock may write.
    """

    def __init__(self, data: DataDirectory, now: datetime, expire_after: float, secret: str | None = None) -> None:
        self.data = data
        self.store = data.store
        self.manifest = Manifest(data.records)
        self.derivations = Derivations()
        self.expire_after = expire_after
        self.prebuilt = Prebuilt(data.storage)
        self.shared: frozenset[str] = frozenset()  # the tables of which other processes pre-build parts
        self.inspection = Inspection(self.store, self.manifest, f"{now:%Y-%m-%d}")
        self._whole_tables = WholeTables(self.store, MonthCopies(data.storage), lambda: self.manifest)
        self._now = now
        self._secret = secret
        self._redaction = Redaction(secret)
        self._existing: dict[str, set[str]] = {}
        self._raw: dict[str, dict[str, str]] = {}
        self._raw_parts = RawParts(self.store, self.manifest)
        self._named: dict[str, str] = {}

    def __enter__(self) -> BuildContext:
        self._stack = contextlib.ExitStack()
        self.connection = self._stack.enter_context(connect(self.data))
        self.connection.execute(macros())
        self.connection.execute(time_macros(self._now, self.expire_after))
        self.connection.execute("SET VARIABLE spelled_key = $pattern", {"pattern": self._redaction.spelled})
        return self

    def __exit__(self, *failure: Any) -> None:
        self._stack.__exit__(*failure)

    def name(self, sources: Iterable[Table], parts: list[str] | None = None) -> None:
        """Creates a view of each source, over all parts or the given ones. Queries refer to sources by these names."""
        for source in sources:
            self._name(source, self.scan(source, parts))

    def name_whole(self, sources: Iterable[Table]) -> None:
        """As `name`, over all parts, which are verified. Raises DamagedFileError."""
        for source in sources:
            paths = self._whole_tables.copied(source, self.inspection.verify_objects, self._rows_of)
            self._name(source, self.store.relation(source, paths))

    def _rows_of(self, table: Table, paths: list[str]) -> Iterator[pa.RecordBatch]:
        return stream(self.connection, f"FROM {self.store.relation(table, paths)}")

    def _name(self, source: Table, relation: str) -> None:
        # Many tables read the same sources, and creating a view opens an object.
        if self._named.get(source.name) != relation:
            self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {source.name} AS FROM {relation}")
            self._named[source.name] = relation

    def scan(self, table: Table, parts: Iterable[str] | None = None) -> str:
        """A FROM expression over all parts of a table or the given ones."""
        is_cut = table.zone is Zone.RAW and parts is not None
        return self._raw_parts.relation(table, parts or []) if is_cut else self.store.scan(table, parts)

    def verify(self, table: Table, parts: Iterable[str]) -> None:
        """Verifies the objects of the given parts. Raises DamagedFileError."""
        if table.zone is Zone.RAW:
            objects = [path for part in parts for path in self._raw_parts.objects(table, part)]
            self.inspection.verify_objects(table, objects)
        else:
            self.inspection.verify(table, parts)

    def choose(self, parts: list[str]) -> None:
        """Creates the macro `is_chosen`: whether a time of submission is in one of these parts."""
        days = [part for part in parts if part == day_of(part)]
        minutes = [minute for part in parts if part not in days for minute in range(*minutes_of(part))]
        self._list("chosen_days", "day", "DATE", days)
        self._list("chosen_minutes", "minute", "BIGINT", minutes)
        self.connection.execute(IS_CHOSEN)

    def _list(self, table: str, column: str, kind: str, values: list[str] | list[int]) -> None:
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT unnest($values::{kind}[]) AS {column}", {"values": values}
        )

    def rows(self, table: Table) -> Iterator[pa.RecordBatch]:
        """The table's rows, derived from the current views of its sources."""
        if table is FULFILLED_RESULTS:
            return read_results(self.connection, self._redaction)
        if table.reads_answer_text:
            create_answers(self.connection, self._redaction, answers_of(table).name)
        return stream(self.connection, query(table))

    def write(
        self,
        report: BuildReport,
        name: str,
        inputs: str,
        rows: Iterable[pa.RecordBatch],
        statistics: Statistics = _NO_STATISTICS,
    ) -> None:
        """Writes a part and records it in the manifest and the report. Only purchases have statistics."""
        try:
            written = self.store.write(report.table, name, rows)
        except duckdb.Error as error:
            error.add_note(f"while building {report.table.name}, part {name}")
            raise
        self._record(report, name, inputs, written, statistics)

    def adopt(self, report: BuildReport, name: str, inputs: str) -> bool:
        """Takes a part that another process pre-built from these inputs; False if there is none to take."""
        if report.table.name not in self.shared:
            return False
        adopted = self.prebuilt.adopt(report.table, name, self.prebuilt_digest(inputs))
        if adopted is None:
            return False
        self._record(report, name, inputs, adopted, _NO_STATISTICS)
        report.adopted_count += 1
        return True

    def prebuilt_digest(self, inputs: str) -> str:
        """A fingerprint of a part's inputs and of whatever else its rows may depend on in another process."""
        return digest(inputs, self._maker)

    @functools.cached_property
    def _maker(self) -> str:
        return maker(self._secret)

    def _record(
        self, report: BuildReport, name: str, inputs: str, written: ObjectWriter | Adopted, statistics: Statistics
    ) -> None:
        table, entry = report.table, written.entry
        self._named.pop(table.name, None)  # the new object may have other types
        part = Part(
            *(inputs, new_version(), written.row_count, entry.size, entry.etag, written.checksum),
            *statistics,
        )
        self.manifest.written(table, name, part)
        if table.name in self._existing:
            self._existing[table.name].add(name)
        report.written.append(name)

    def remove_other_parts(self, report: BuildReport, parts: set[str]) -> None:
        """Removes the parts that raw no longer has. If no parts are left, one empty object declares the columns."""
        table, inputs = report.table, self.derivations.of(report.table)
        if not parts and not self.is_current(table, _NO_DAYS, inputs):
            self.write(report, _NO_DAYS, inputs, stream(self.connection, f"FROM {self.store.scan(table, [])}"))
        for part in self.store.parts(table).keys() - (parts or {_NO_DAYS}):
            self.store.delete(table, part)
            self.manifest.forget(table, part)

    def is_current(self, table: Table, name: str, inputs: str) -> bool:
        """Whether the part exists and was derived from these inputs."""
        return self.exists(table, name) and self.manifest.state(table).parts[name].inputs == inputs

    def exists(self, table: Table, name: str) -> bool:
        """Whether the part exists and is in the manifest."""
        if table.name not in self._existing:
            self._existing[table.name] = set(self.store.parts(table))
        return name in self._existing[table.name] and name in self.manifest.state(table).parts

    def state(self, table: Table) -> dict[str, str]:
        """The identity of each part's content: from object names for raw tables, versions for derived tables."""
        return self.raw_state(table) if table.zone is Zone.RAW else self.manifest.versions(table)

    def parts(self, raw: Table) -> dict[str, str]:
        """The parts of a raw table, each with the identity of its rows."""
        return self._raw_parts.identities(raw)

    def parts_at(self, raw: Table, minutes: Iterable[int]) -> set[str]:
        """The parts of a raw table that contain these minutes, counted from 1970."""
        return self._raw_parts.at(raw, minutes)

    def state_of_parts(self, table: Table) -> dict[str, str]:
        """As `state`, by part for raw tables as well."""
        return self.parts(table) if table.zone is Zone.RAW else self.manifest.versions(table)

    def raw_state(self, table: Table) -> dict[str, str]:
        """The identity of a raw table's rows, by UTC day."""
        # Cached: the holder of the lock adds nothing to raw meanwhile, and listing years of history is slow.
        if table.name not in self._raw:
            self._raw[table.name] = {part: identity(paths) for part, paths in self.store.parts(table).items()}
        return self._raw[table.name]

    def days_ahead(self, table: Table) -> list[str]:
        """The raw days in the future if the table's query treats future times differently, otherwise none.

        A fingerprint with these days changes when one of them is no longer in the future.
        """
        if not any(macro in query(table) for macro in ("is_future(", "time_of_run(")):
            return []
        today = f"{self._now:%Y-%m-%d}"
        return sorted({day for raw in RAW for day in self.raw_state(raw) if day > today})

    def inputs_of_whole(self, table: Table) -> str:
        """The fingerprint of a table that is derived from all parts of its sources."""
        states = [self.state(TABLES[name]) for name in table.sources]
        return inputs_of(self.derivations.of(table), states, *self.days_ahead(table))
