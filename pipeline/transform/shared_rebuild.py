"""A rebuild that several processes share, on one machine or on several.

When a run has to derive many parts anew, it begins a round. Other processes then pre-build the tables that follow from
answers alone: a run that Dagster started on a worker, or a process that this run starts. The run itself begins with the
oldest part and they with the newest. The run adopts the parts that it finds pre-built when it comes to them, and
derives the others. It waits for nobody, so another process can only save it time.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import datetime

import msgspec

from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.schema.staging import FINAL_AND_MALFORMED_ANSWERS, FULFILLED_RESULTS, UNKNOWN_FIELDS
from pipeline.schema.table import Table
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.files import for_owner_and_group
from pipeline.transform.context import BuildContext
from pipeline.transform.strategies import by_part

ROUND = "rebuild_round"  # the record of the round under way
# In the order in which the run needs them. The remaining table that follows from answers alone, `session_day_polls`, is
# the first that the run derives, and takes a few per cent of the time.
PREBUILT = (FULFILLED_RESULTS, FINAL_AND_MALFORMED_ANSWERS, UNKNOWN_FIELDS)
LEAST_PARTS = 10  # of a process; one for fewer costs more than it saves
_BETWEEN_LOOKS = 5.0  # seconds


class Round(msgspec.Struct, frozen=True):
    """One shared rebuild: the processes that share it, the run among them, and the tables that it still needs."""

    id: str
    process_count: int
    tables: list[str]


def round_under_way(data: DataDirectory) -> Round | None:
    """The round of the run that holds the lock now; None if there is none."""
    found = data.records.load(ROUND, Round)
    return found if found and data.is_being_written() else None


class SharedRebuild:
    """The round of a run, if it needs one. Only the holder of the data directory's lock may use it."""

    def __init__(self, context: BuildContext, most_processes: int) -> None:
        self._context = context
        self._data = context.data
        self._most = most_processes
        self._round: Round | None = None
        self._processes: list[subprocess.Popen[bytes]] = []

    def before(self, table: Table) -> None:
        """Begins the round before the first table that follows from answers alone, if many parts are out of date."""
        if self._most == 1 or self._round or table.sources != (STATUS_RESPONSES.name,):
            return
        self._context.inspection.look_through(FULFILLED_RESULTS)  # removes damaged parts, which are out of date then
        count = min(self._most, len(list(_stale(self._context, FULFILLED_RESULTS))) // LEAST_PARTS)
        if count < 2:
            return
        self._context.manifest.save()  # the others find the cuts of large days there
        self._context.shared = frozenset(table.name for table in PREBUILT)
        self._data.records.load(ROUND, Round)
        self._save(Round(uuid.uuid4().hex, count, [table.name for table in PREBUILT]))
        if not self._data.storage.is_remote:
            for number in range(1, count):
                with contextlib.suppress(OSError):  # no memory or process is left: the run derives these parts itself
                    self._processes.append(_started(number))

    def after(self, table: Table) -> None:
        """Tells the other processes that the table is complete. The last one ends the round."""
        if self._round is None or table.name not in self._round.tables:
            return
        if left := [name for name in self._round.tables if name != table.name]:
            self._save(msgspec.structs.replace(self._round, tables=left))
        else:
            self.end()

    def end(self) -> None:
        """Ends the round and its processes, and removes what they made in vain. Raises StoreError."""
        if self._round is None:
            return
        self._round = None
        self._context.shared = frozenset()
        try:
            self._data.records.forget(ROUND)
        finally:
            for process in self._processes:
                process.terminate()
            for process in self._processes:
                process.wait()
        self._context.prebuilt.sweep()

    def _save(self, current: Round) -> None:
        self._data.records.save(ROUND, msgspec.to_builtins(current))
        self._round = current


def prebuild(data: DataDirectory, number: int, now: datetime, expire_after: float, secret: str | None) -> int | None:
    """Pre-builds the share of one of the processes of the round under way, counted from 1.

    Needs no lock. Returns the number of parts; None if no such process is needed. Raises StoreError.
    """
    found = round_under_way(data)
    if found is None or not 0 < number < found.process_count:
        return None
    count = 0
    watch = _Watch(data, found)
    with for_owner_and_group(), BuildContext(data, now, expire_after, secret) as context:
        present = context.prebuilt.names()  # from this process's predecessor, which was killed
        for table in PREBUILT:
            newest_first = [*_stale(context, table)][::-1]
            for part, inputs in newest_first[number - 1 :: found.process_count - 1]:
                if not watch.needs(table):
                    break
                made = context.prebuilt_digest(inputs.fingerprint)
                if context.prebuilt.name(table, part, made) in present:
                    continue
                by_part.choose_part(context, table, part, inputs.of_sources)
                context.prebuilt.write(table, part, made, context.rows(table))
                count += 1
    return count


class _Watch:
    """Looks every few seconds what the run still needs."""

    def __init__(self, data: DataDirectory, of_round: Round) -> None:
        self._data = data
        self._id = of_round.id
        self._tables = of_round.tables
        self._looked_at = time.monotonic()

    def needs(self, table: Table) -> bool:
        if time.monotonic() - self._looked_at >= _BETWEEN_LOOKS:
            found = round_under_way(self._data)
            self._tables = found.tables if found and found.id == self._id else []
            self._looked_at = time.monotonic()
        return table.name in self._tables


def _stale(context: BuildContext, table: Table) -> Iterator[tuple[str, by_part.Inputs]]:
    for part, inputs in by_part.inputs_by_part(context, table).items():
        if not context.is_current(table, part, inputs.fingerprint):
            yield part, inputs


def _started(number: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pipeline.cli.main", "prebuild", str(number)]
    return subprocess.Popen(  # noqa: S603 (the command is this product's own)
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
