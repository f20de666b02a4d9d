"""Builds the derived tables from raw and rebuilds only the days with new data."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, astuple
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.polling.redaction import Redaction
from pipeline.schema import PUBLISHED, TABLES
from pipeline.schema.packs import REFERENCE_PACK_ROWS, REFERENCE_PACKS
from pipeline.schema.raw import PENDING_SESSIONS, SELLBACK_SUBMISSIONS, SESSION_SUBMISSIONS, STATUS_RESPONSES
from pipeline.schema.staging import FULFILLED_RESULTS, PURCHASES, SESSION_DAY_POLLS
from pipeline.schema.table import Partition, Table, Zone
from pipeline.sources.packs_file import read_packs
from pipeline.storage.compaction import identity
from pipeline.storage.connection import connect, stream
from pipeline.storage.data_directory import DataDirectory, DataDirectoryError
from pipeline.storage.manifest import Manifest, digest
from pipeline.storage.parquet_query import literal_path
from pipeline.transform.answer_text import create_answers
from pipeline.transform.build_report import BuildReport
from pipeline.transform.comparison import changed_days, is_same
from pipeline.transform.fingerprint import Derivations
from pipeline.transform.fulfilled_answers import read_results
from pipeline.transform.inspection import Inspection
from pipeline.transform.queries import (
    RESOLUTION_DAYS_OF_TOUCHED,
    RESOLVED_BETWEEN,
    macros,
    query,
    time_macros,
)

NO_DAYS = "no-days-yet"
_DERIVATION = "derivation"  # the manifest's note of the derivation of the last build
_OBSERVED = "observed "
_SESSIONS_AT_ONCE = 500_000
_DATED_BY_CLOCK = (SESSION_SUBMISSIONS, SELLBACK_SUBMISSIONS, STATUS_RESPONSES)


class Builder:
    """Builds tables of one data directory as of `now`. `expire_after` is in seconds, 0 = never; `secret` is the key.

    Use as a context manager, with the directory's lock held.
    """

    def __init__(self, data: DataDirectory, now: datetime, expire_after: float, secret: str | None = None) -> None:
        self._data = data
        self._store = data.store
        self._manifest = Manifest(data)
        self._derivations = Derivations()
        self._now = now
        self._expire_after = expire_after
        self._redaction = Redaction(secret)
        self._existing: dict[str, set[str]] = {}
        self._raw: dict[str, dict[str, str]] = {}
        self._inspection = Inspection(self._store, self._manifest, f"{now:%Y-%m-%d}")
        self._current: set[str] = set()
        self._resolved_between: dict[str, tuple[str, str]] | None = None

    def __enter__(self) -> Builder:
        self._stack = contextlib.ExitStack()
        self._connection = self._stack.enter_context(connect(self._data))
        self._connection.execute(macros())
        self._connection.execute(time_macros(self._now, self._expire_after))
        self._connection.execute("SET VARIABLE spelled_key = $pattern", {"pattern": self._redaction.spelled})
        return self

    def __exit__(self, failed: type[BaseException] | None, *rest: Any) -> None:
        # What failed is the news; an unsaved manifest costs one more build.
        with contextlib.suppress(DataDirectoryError) if failed else contextlib.nullcontext():
            self._manifest.save()
        self._stack.__exit__(failed, *rest)

    def build(self, table: Table) -> BuildReport:
        """Updates the table and the intermediate tables that it reads.

        A part that does not open counts as missing. Raises StoreError if the disk or a damaged file stops the work.
        """
        self._inspection.look_through(table)
        for source in (TABLES[name] for name in table.sources):
            if source.zone is Zone.STAGING and source.name not in self._current:
                self.build(source)
        derived, former = self._derivations.of(table), self._manifest.inputs(table, _DERIVATION)
        was_built = bool(self._manifest.versions(table))
        report = BuildReport(table, is_rederived=was_built and derived != former)
        if table is PENDING_SESSIONS:
            self._build_pending_sessions(report)
        elif table is PURCHASES:
            self._build_purchases(report)
        elif table is REFERENCE_PACK_ROWS:
            self._build_reference_pack_rows(report)
        elif table.partition is not Partition.NONE:
            self._build_by_day(report)
        else:
            self._build_whole(report)
        if derived != former:
            self._manifest.written(table, _DERIVATION, derived)
        self._manifest.save_now_and_then()
        self._current.add(table.name)
        return report

    def build_published(self) -> None:
        """Updates every published table, so that all are of one state of the data."""
        # Tables already built by this builder are up to date, because it holds the lock.
        for table in (table for table in PUBLISHED if table.name not in self._current):
            self.build(table)

    def forget_all(self) -> None:
        """Forces the next builds to rebuild everything."""
        self._manifest.clear()
        self._manifest.save()
        self._current.clear()

    def find_pending(self) -> duckdb.DuckDBPyConnection:
        """Creates the temporary table `pending_sessions` and returns its connection. Writes nothing."""
        self._name(TABLES[name] for name in PENDING_SESSIONS.sources)
        columns = ", ".join(f'"{c.name}" {c.type}' for c in PENDING_SESSIONS.columns)
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE pending_sessions ({columns})")
        for days in self._batches(self._open_days()):
            self._name_days(days)
            # A session that was submitted on several days may be found on each of them.
            self._connection.execute(
                "INSERT INTO pending_sessions "
                f"FROM ({query(PENDING_SESSIONS)}) ANTI JOIN pending_sessions USING (session_id)"
            )
        return self._connection

    def _build_whole(self, report: BuildReport) -> None:
        table = report.table
        states = [self._state(TABLES[name]) for name in table.sources]
        inputs = digest(self._derivations.of(table), states, *self._days_ahead(table))
        if self._is_current(table, table.name, inputs):
            report.unchanged_count += 1
            return
        for name in table.sources:
            self._inspection.verify(TABLES[name])
        self._name(TABLES[name] for name in table.sources)
        if table is REFERENCE_PACKS and not report.is_rederived and self._is_as_it_was(table):
            # Prices of packs stand in every pull: a file that was only touched must not make them all anew.
            self._manifest.confirmed(table, table.name, inputs)
            report.unchanged_count += 1
        else:
            self._write(report, table.name, inputs, stream(self._connection, query(table)))

    def _is_as_it_was(self, table: Table) -> bool:
        """Whether a small table would be written with the rows that it has."""
        is_there = table.name in self._existing[table.name] and table.name in self._manifest.versions(table)
        return is_there and is_same(self._connection, query(table), f"FROM {self._store.scan(table)}")

    def _build_pending_sessions(self, report: BuildReport) -> None:
        """Computed in every run, because sessions expire with time; written only if they changed."""
        self._inspection.look_through(PURCHASES)
        self.find_pending()
        found = self._connection.execute("SELECT count(*), bit_xor(hash(pending_sessions)) FROM pending_sessions")
        inputs = digest([(c.name, c.type) for c in PENDING_SESSIONS.columns], found.fetchone())
        if self._is_current(PENDING_SESSIONS, PENDING_SESSIONS.name, inputs):
            report.unchanged_count += 1
            return
        # Sessions never polled come first, newest first; then those polled longest ago.
        order = "last_polled_at NULLS FIRST, submitted_at DESC, session_id"
        self._write(
            report, PENDING_SESSIONS.name, inputs, stream(self._connection, f"FROM pending_sessions ORDER BY {order}")
        )

    def _open_days(self) -> list[str]:
        """The days of submission that may have pending sessions.

        What purchases know to be fulfilled or failed stays so, and what they know to be expired is pending again only
        when it was submitted again, on a day that they have not taken in yet.
        """
        inputs = self._purchase_inputs()
        taken_in = [day for day in inputs if self._is_current(PURCHASES, day, inputs[day])]
        pending = self._connection.execute(
            f"SELECT DISTINCT utc_day(submitted_at)::VARCHAR FROM {self._store.scan(PURCHASES, taken_in)} "
            "WHERE status = 'pending'"
        )
        return sorted((inputs.keys() - set(taken_in)).union(day for (day,) in pending.fetchall()))

    def _build_reference_pack_rows(self, report: BuildReport) -> None:
        """The users may change or remove the file, so its content is the fingerprint."""
        table = report.table
        found = sorted(read_packs(self._data.packs_file), key=lambda row: row.row_number)
        inputs = digest(self._derivations.of(table), [astuple(row) for row in found])
        if self._is_current(table, table.name, inputs):
            report.unchanged_count += 1
            return
        rows = pa.RecordBatch.from_pylist([asdict(row) for row in found], table.arrow_schema)
        self._write(report, table.name, inputs, [rows])

    def _build_by_day(self, report: BuildReport) -> None:
        """Builds each day from that day's parts of the sources. Purchases are joined by day of resolution."""
        table = report.table
        is_observed = table.partition is Partition.OBSERVED
        joins_purchases = is_observed and PURCHASES.name in table.sources
        days = self._raw_state(STATUS_RESPONSES if is_observed else SESSION_SUBMISSIONS)
        sources = [TABLES[name] for name in table.sources]
        by_day = [source for source in sources if source.partition is table.partition]
        whole = [source for source in sources if source.partition is Partition.NONE]
        states = [self._state(source) for source in by_day]
        states_of_whole = [self._state(source) for source in whole]
        self._name(whole)
        derived, ahead = self._derivations.of(table), self._days_ahead(table)
        for day in days:
            upstream = [{day: state.get(day, "")} for state in states] + states_of_whole
            if joins_purchases:
                upstream.append({day: self._manifest.inputs(PURCHASES, _resolved(day)) or ""})
            inputs = digest(derived, upstream, *ahead)
            if self._is_current(table, day, inputs):
                report.unchanged_count += 1
                continue
            for source in by_day:
                self._inspection.verify(source, [day])
            self._name(by_day, [day])
            if joins_purchases:
                self._name([PURCHASES], self._days_of_submission(day))
            self._write(report, day, inputs, self._rows_of_day(table))
        self._tidy_days(report, set(days))

    def _build_purchases(self, report: BuildReport) -> None:
        """Purchases are partitioned by day of submission; an answer changes its session's day."""
        self._resolved_between = None
        self._name(TABLES[name] for name in PURCHASES.sources)
        inputs = self._purchase_inputs()
        observed = self._state(SESSION_DAY_POLLS)
        gone = [day for day in self._observed_days_taken_in() if day not in observed]
        # A day that disappeared from raw may have had answers of any session.
        stale = [day for day, state in inputs.items() if gone or not self._is_current(PURCHASES, day, state)]
        answered = [day for day, version in observed.items() if self._manifest.inputs(PURCHASES, _seen(day)) != version]
        self._inspection.verify(SESSION_SUBMISSIONS, stale)
        self._inspection.verify(SESSION_DAY_POLLS, answered)
        self._inspection.verify(FULFILLED_RESULTS, answered)
        self._connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE touched AS
            SELECT session_id FROM {self._store.scan(SESSION_DAY_POLLS, answered)}
            UNION SELECT session_id FROM {self._store.scan(SESSION_SUBMISSIONS, stale)}
            """
        )
        touched_days = self._connection.execute(
            f"""
            SELECT utc_day(min(submitted_at))::VARCHAR FROM session_submissions
            WHERE rejected_reason IS NULL AND session_id IN (SELECT session_id FROM touched)
            GROUP BY session_id
            UNION SELECT utc_day(submitted_at)::VARCHAR FROM {self._store.scan(PURCHASES)}
            WHERE status = 'pending' AND is_expired(submitted_at, last_polled_at)
            """
        )
        for days in self._batches({*stale, *(day for (day,) in touched_days.fetchall())}):
            self._rebuild_purchases(report, days, inputs)
        self._connection.execute("DROP TABLE touched")  # all sessions of the history, in a rebuild
        report.unchanged_count = len(inputs) - len(report.written)
        for day in answered:
            self._manifest.written(PURCHASES, _seen(day), observed[day])
        for day in gone:
            self._manifest.forget(PURCHASES, _seen(day))
        self._tidy_days(report, set(inputs))

    def _days_ahead(self, table: Table) -> list[str]:
        """The days of raw that are still to come, of which none is unless a clock was ahead: what they say changes."""
        if "is_future(" not in query(table):
            return []
        today = f"{self._now:%Y-%m-%d}"
        return sorted({day for raw in _DATED_BY_CLOCK for day in self._raw_state(raw) if day > today})

    def _days_of_submission(self, day: str) -> list[str]:
        """The days of submission whose purchases may have been resolved on a day, by their files' statistics.

        They are few, and a day's tables need not look at the purchases of the whole history.
        """
        if self._resolved_between is None:
            days = {path: part for part, paths in self._store.parts(PURCHASES).items() for path in paths}
            paths = [literal_path(path) for path in days]
            bounds = self._connection.execute(RESOLVED_BETWEEN, {"paths": paths}).fetchall() if days else []
            self._resolved_between = {days[path]: (first, last) for path, first, last in bounds}
        return [submitted for submitted, (first, last) in self._resolved_between.items() if first <= day <= last]

    def _observed_days_taken_in(self) -> list[str]:
        notes = self._manifest.versions(PURCHASES)
        return [note.removeprefix(_OBSERVED) for note in notes if note.startswith(_OBSERVED)]

    def _purchase_inputs(self) -> dict[str, str]:
        """The fingerprint of the inputs of purchases, by day of submission."""
        derived = self._derivations.of(PURCHASES)
        raw = self._raw_state(SESSION_SUBMISSIONS)
        return {day: digest(derived, self._expire_after, {day: state}) for day, state in raw.items()}

    def _batches(self, days: Iterable[str]) -> Iterator[list[str]]:
        """Days of submission in groups whose sessions fit into memory: they may be a whole history."""
        batch: list[str] = []
        size = 0
        for day in sorted(days):
            submissions = self._store.scan(SESSION_SUBMISSIONS, [day])
            ((count,),) = self._connection.execute(f"SELECT count(*) FROM {submissions}").fetchall()
            if batch and size + count > _SESSIONS_AT_ONCE:
                yield batch
                batch, size = [], 0
            batch.append(day)
            size += count
        if batch:
            yield batch

    def _rebuild_purchases(self, report: BuildReport, days: list[str], inputs: dict[str, str]) -> None:
        self._name_days(days)
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE rebuilt AS {query(PURCHASES)}")
        # A session that is resolved on another day than before concerns both. Noted before the former day is forgotten.
        resolution_days = RESOLUTION_DAYS_OF_TOUCHED.format(former=self._store.scan(PURCHASES, days))
        for (day,) in self._connection.execute(resolution_days).fetchall():
            self._manifest.written(PURCHASES, _resolved(day), uuid.uuid4().hex)
        changed = self._changed_days(days)
        for day in changed:
            # A kill between here and the next save must not leave new rows under a version that stands for others.
            self._manifest.forget(PURCHASES, day)
        self._manifest.save()
        for day in days:
            if day in changed:
                rows = f"SELECT * FROM rebuilt WHERE utc_day(submitted_at) = '{day}' ORDER BY submitted_at, session_id"
                self._write(report, day, inputs[day], stream(self._connection, rows))
            else:
                self._manifest.confirmed(PURCHASES, day, inputs[day])
        self._connection.execute("DROP TABLE rebuilt")

    def _changed_days(self, days: list[str]) -> set[str]:
        """The days of submission whose purchases changed."""
        known = self._store.parts(PURCHASES).keys() & self._manifest.versions(PURCHASES).keys()
        kept = self._store.scan(PURCHASES, days)
        return {*days} - known | changed_days(self._connection, "rebuilt", kept, days)

    def _tidy_days(self, report: BuildReport, days: set[str]) -> None:
        """Removes the days that are gone from raw. If there are none, one empty object declares the columns."""
        inputs = self._derivations.of(report.table)
        if not days and not self._is_current(report.table, NO_DAYS, inputs):
            self._write(report, NO_DAYS, inputs, stream(self._connection, f"FROM {self._store.scan(report.table, [])}"))
        for part in self._store.parts(report.table).keys() - (days or {NO_DAYS}):
            self._store.delete(report.table, part)
            self._manifest.forget(report.table, part)

    def _name(self, sources: Iterable[Table], days: list[str] | None = None) -> None:
        """Creates a view of each source for SQL, of all days or of some."""
        for source in sources:
            relation = self._store.scan(source, days)
            self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {source.name} AS FROM {relation}")

    def _name_days(self, days: list[str]) -> None:
        """Creates the table `days`, the days of submission for the query of purchases."""
        self._connection.execute(
            "CREATE OR REPLACE TEMP TABLE days AS SELECT unnest($days::DATE[]) AS day", {"days": days}
        )

    def _rows_of_day(self, table: Table) -> Iterator[pa.RecordBatch]:
        if table is FULFILLED_RESULTS:
            return read_results(self._connection, self._redaction)
        if table.reads_answer_text:
            create_answers(self._connection, self._redaction)
        return stream(self._connection, query(table))

    def _write(self, report: BuildReport, part: str, inputs: str, rows: Iterable[pa.RecordBatch]) -> None:
        try:
            self._store.write(report.table, part, rows)
        except duckdb.Error as error:
            error.add_note(f"while building {report.table.name}, part {part}")
            raise
        self._manifest.written(report.table, part, inputs)
        if report.table.name in self._existing:
            self._existing[report.table.name].add(part)
        report.written.append(part)

    def _is_current(self, table: Table, part: str, inputs: str) -> bool:
        if table.name not in self._existing:
            self._existing[table.name] = set(self._store.parts(table))
        return self._manifest.inputs(table, part) == inputs and part in self._existing[table.name]

    def _state(self, table: Table) -> dict[str, str]:
        """The identity of the content of a table's parts: names of raw objects, versions of derived ones."""
        return self._raw_state(table) if table.zone is Zone.RAW else self._manifest.versions(table)

    def _raw_state(self, table: Table) -> dict[str, str]:
        # Nothing is added to raw while the lock is held, and a history of years takes long to list.
        if table.name not in self._raw:
            self._raw[table.name] = {part: identity(paths) for part, paths in self._store.parts(table).items()}
        return self._raw[table.name]


def _seen(day: str) -> str:
    """The manifest's note that purchases have taken in what was observed on a day."""
    return f"{_OBSERVED}{day}"


def _resolved(day: str) -> str:
    """The manifest's note that purchases resolved on a day were built anew: what joins them there is out of date."""
    return f"resolved {day}"
