"""Runs checks on the parts of the lake that have changed since the checks passed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import duckdb

from pipeline.quality.findings import Finding, FindingRecord
from pipeline.quality.lake_parts import LakeParts
from pipeline.quality.rules import Check
from pipeline.schema.table import Partition, Table
from pipeline.storage.day_parts import is_cut_further
from pipeline.storage.manifest import digest
from pipeline.transform.queries import macros_used_by

_CHANGED = "changed_"  # begins the names of views of a table's rows in changed parts


class Changes:
    """The parts of the lake that have changed since checks passed, by the record of what passed.

    `states` has a fingerprint of each table that the checks read.
    """

    def __init__(
        self, parts: LakeParts, passed: FindingRecord, states: Mapping[str, str], connection: duckdb.DuckDBPyConnection
    ) -> None:
        self._parts = parts
        self._passed = passed
        self._states = states
        self._connection = connection
        self._inputs: dict[tuple[Partition, tuple[Table, ...]], dict[str, str]] = {}
        self._misplaced: dict[Check, set[str]] = {}
        self.replaced_views: set[str] = set()

    def passing(self, checks: Sequence[Check]) -> Iterator[Check]:
        """The checks that passed before and find nothing in the parts that have changed since.

        Leaves views over these parts under the names in `replaced_views`.
        """
        within: set[Check] = set()
        # Views of whole tables come first: those of changed parts replace them.
        for group, changed in sorted(self._alike(checks), key=lambda group: group[0][0].among_changed is None):
            if group[0].among_changed is not None:
                yield from self._passing_among(group, changed)
            elif group[0].locates:
                within |= {check for check in group if not self._parts_with_misplaced(check, changed)}
            else:
                within |= self._passing_within(group, changed)
        misplaced = {check.table for check in checks if check.locates and check not in within}
        yield from (check for check in within if check.table not in misplaced)

    def _alike(self, checks: Iterable[Check]) -> Iterator[tuple[list[Check], Sequence[str]]]:
        """The checks that passed before, in groups that read the same rows, with the parts that have changed since."""
        groups: dict[tuple[tuple[str, ...], bool, bool, tuple[Table, ...]], list[Check]] = {}
        for check in checks:
            clean = self._passed.clean_parts(check.key, self._rule(check))
            inputs = self._inputs_of(check) if clean else {}
            changed = tuple(part for part, rows in inputs.items() if clean.get(part) != rows)
            # With more, reading everything is as fast.
            if inputs and not _is_part_gone(clean, inputs) and 2 * len(changed) <= len(inputs):
                kind = (changed, check.among_changed is None, check.locates, check.reads)
                groups.setdefault(kind, []).append(check)
        for (changed, *_), group in groups.items():
            yield group, changed

    def note_inputs(self, checks: Iterable[Check]) -> None:
        """Takes the fingerprints of the parts now, for `record`."""
        for check in (check for check in checks if check.cut_by is not Partition.NONE):
            self._inputs_of(check)

    def record(self, findings: Mapping[Check, Finding], record: FindingRecord) -> None:
        """Records the parts in which nothing was found."""
        for check, finding in findings.items():
            if check.cut_by is Partition.NONE:
                continue
            inputs = {} if finding.offender_count else self._inputs_of(check)
            # That a row is in the wrong part is no offence in all rows, but matters when other parts change.
            misplaced = self._misplaced.get(check, set())
            if clean := {part: rows for part, rows in inputs.items() if part not in misplaced}:
                record.note_clean(check.key, self._rule(check), clean)
            else:
                record.forget_clean(check.key)

    def _parts_with_misplaced(self, check: Check, changed: Sequence[str]) -> set[str]:
        found = {part for part in changed if not self._passing_within([check], [part])}
        self._misplaced[check] = found
        return found

    def _passing_within(self, checks: list[Check], changed: Sequence[str]) -> set[Check]:
        for table in checks[0].reads:
            self._create_view(table.name, self._parts.relation(table, checks[0], changed))
        passing = passing_row_checks(self._connection, checks)
        others = (check for check in checks if check not in passing)
        return passing | {check for check in others if not self._connection.execute(check.offenders).fetchone()}

    def _passing_among(self, checks: list[Check], changed: Sequence[str]) -> Iterator[Check]:
        read = "".join(check.among_changed or "" for check in checks)
        for table in checks[0].reads:
            self._create_view(table.name, self._parts.whole(table))
            if (name := f"{_CHANGED}{table.name}") in read:
                self._create_view(name, self._parts.relation(table, checks[0], changed))
        for check in checks:
            if not self._connection.execute(str(check.among_changed)).fetchone():
                yield check

    def _create_view(self, name: str, relation: str) -> None:
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS FROM {relation}")
        self.replaced_views.add(name)

    def _inputs_of(self, check: Check) -> dict[str, str]:
        key = (check.cut_by, check.reads)
        if key not in self._inputs:
            self._inputs[key] = self._parts.inputs(check, self._connection)
        return self._inputs[key]

    def _rule(self, check: Check) -> str:
        """A fingerprint of what the check looks for, and of the tables that are read whole."""
        sql = f"{check.offenders};{check.among_changed}"
        whole = {
            table.name: self._states[table.name] for table in check.reads if self._parts.is_read_whole(table, check)
        }
        return digest(sql, macros_used_by(sql), whole)


def _is_part_gone(clean: Mapping[str, str], inputs: Mapping[str, str]) -> bool:
    """Whether a part was removed, and not cut further. Rows of unchanged parts may have been right because of it."""
    return any(not is_cut_further(part, inputs) for part in clean.keys() - inputs.keys())


def passing_row_checks(connection: duckdb.DuckDBPyConnection, checks: Sequence[Check]) -> set[Check]:
    """The passing checks about single rows, from one scan of their table."""
    of_rows = [check for check in checks if check.condition]
    if not of_rows:
        return set()
    counted = ", ".join(f"count(*) FILTER ({check.condition})" for check in of_rows)
    counts = connection.execute(f"SELECT {counted} FROM {of_rows[0].table.name}").fetchone() or ()
    return {check for check, count in zip(of_rows, counts, strict=True) if count == 0}
