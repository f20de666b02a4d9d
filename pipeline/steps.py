"""The steps of a run on one environment's data directory, each a single call.

The Dagster assets and the command line both use this module. It connects settings, intake, polling, tables and
publishing.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from pipeline.clock import now
from pipeline.endpoint import endpoint_url
from pipeline.errors import PipelineError
from pipeline.polling.endpoint import BUY_STATUS, ENDPOINTS, Endpoint
from pipeline.polling.pending import PendingSessions
from pipeline.polling.progress import Exit, Progress
from pipeline.polling.shards import (
    OtherShards,
    RoundWatch,
    merged,
    note_result,
    result_of,
    round_under_way,
    sessions_of,
    shard_count,
    share_of,
    within_limits,
)
from pipeline.polling.waits import Waits
from pipeline.process import prepare_process
from pipeline.publish.warehouse import Published, publish
from pipeline.report.drawing_process import DrawingProcess
from pipeline.report.edition import is_current
from pipeline.schema.raw import PENDING_SESSIONS, STATUS_RESPONSES
from pipeline.settings import Settings
from pipeline.sources.inbox import Inbox
from pipeline.sources.intake import IntakeReport, take_in
from pipeline.sources.kinds import SELLBACKS, SESSIONS
from pipeline.sources.only_here import files_only_here
from pipeline.sources.postgres import DatabaseSource
from pipeline.storage import compaction, raw_log
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.prebuilt import Prebuilt
from pipeline.storage.snapshot import copy_raw, copy_reference
from pipeline.storage.window import Window
from pipeline.transform.builder import Builder
from pipeline.transform.completion_times import learned_law
from pipeline.transform.queries import run
from pipeline.transform.shared_rebuild import prebuild
from pipeline.transform.strategies.pending import pending_sessions

_LOCAL_HOLD = 1.0  # seconds; shorter than the API's six, to keep local runs quick
_LOCAL_FAULT_RATE = 0.01


class SnapshotError(PipelineError):
    """The target folder of a rebuild as of a past time cannot be used."""


@dataclass(frozen=True)
class Workspace:
    """One environment: its settings and its data directory."""

    settings: Settings
    data: DataDirectory

    @classmethod
    def open(cls, settings: Settings | None = None) -> Workspace:
        """The workspace for commands that write to it; binds the data directory to its environment.

        Raises SettingsError, and DataDirectoryError if the directory belongs to another environment.
        """
        prepare_process()
        settings = settings or Settings.load()
        data = DataDirectory(settings.data_directory, settings.lake_url, settings.memory_limit)
        data.claim(settings.env, settings.api)
        return cls(settings, data)

    @classmethod
    def open_for_reading(cls, needs_key: bool = False) -> Workspace:
        """The workspace for commands that only read it; needs no API key, creates nothing and binds nothing.

        Raises SettingsError, and DataDirectoryError if the directory belongs to another environment.
        """
        prepare_process()
        settings = Settings.load(needs_key=needs_key)
        data = DataDirectory(settings.data_directory, settings.lake_url, settings.memory_limit)
        data.check(settings.env, settings.api)
        return cls(settings, data)

    def take_in(self) -> IntakeReport:
        """Seals the journals of killed runs, then reads the inbox's new files and the database's new rows into raw."""
        with self.data.exclusive():
            recovered = self._recover()
            report = take_in(self.data, now, Inbox(self.data, SESSIONS))
            if database := self.database():
                report.add(take_in(self.data, now, database))
            report.left |= files_only_here(self.data, self.data.inbox, self.data.packs_file.parent)
            report.recovered = recovered
            return report

    def database(self) -> DatabaseSource | None:
        """The database with session ids; None if the settings name none."""
        url, query = self.settings.submissions_url, self.settings.submissions_query
        return DatabaseSource(self.data, url.get_secret_value(), query) if url and query else None

    def take_in_sellbacks(self) -> IntakeReport:
        """Reads the new files of the folder `sellbacks`, if it exists, into raw."""
        with self.data.exclusive():
            report = take_in(self.data, now, Inbox(self.data, SELLBACKS))
            report.left |= files_only_here(self.data, self.data.sellbacks)
            return report

    def poll(
        self,
        on_progress: Callable[[Progress], None],
        on_line: Callable[[str], object] = lambda _line: None,
        claim_within: float = 0.0,
    ) -> Progress:
        """Polls the sessions of the table `pending_sessions` that are not final yet.

        Polls none while the API asks to wait, as recorded by an earlier run. `on_line` receives messages for people
        about journals that killed runs left since the last intake. Other processes may claim the polling shards within
        `claim_within` seconds; this run starts processes for the rest.
        """
        with self.data.exclusive():
            for line in self._recover():
                on_line(line)
            waits = Waits.of(self.data.records, now())
            sessions = self._sessions_to_poll(() if waits.everybody else waits.sessions)
            if waits.everybody:
                return Progress(total=len(sessions), exit=Exit.ASKED_TO_WAIT, wait_until=waits.everybody)
            if not len(sessions):
                return Progress(total=0, exit=Exit.SESSIONS_WAIT if waits.sessions else None, waiting=waits.sessions)
            count = shard_count(self.settings, len(sessions))
            own, share = sessions_of(sessions, 0, count), share_of(self.settings, 0, count)
            with OtherShards(self.data, self.settings, count, claim_within, on_line) as others:
                progress = merged([_poll(self.data, share, own, on_progress), *others.results()])
            self.data.storage.refresh()
            waits.after(progress).save(self.data.records)
            return progress

    def poll_shard(self, shard: int, on_progress: Callable[[Progress], None]) -> Progress | None:
        """Polls one shard of the round under way, within the limits of the run that began it.

        None if there is no round, if somebody polls or polled this shard, or if these settings allow too few requests.

        Raises RoundOverError when the run that began the round ends, and the errors of polling.
        """
        found = round_under_way(self.data)
        if found is None or not 0 < shard < found.shard_count:
            return None
        data, settings = self.data.shard(shard), within_limits(self.settings, found)
        if settings is None or data.is_being_written():
            return None
        with data.exclusive(), RoundWatch(self.data, found) as watch:
            budget = found.ends_at - time.time()
            if result_of(data, shard, found) or budget <= 0:
                return None
            sessions = sessions_of(Workspace(self.settings, data)._sessions_to_poll(()), shard, found.shard_count)
            share = share_of(settings, shard, found.shard_count, budget)
            progress = _poll(data, share, sessions, on_progress, watch.check)
            note_result(data, shard, found, progress)
            return progress

    def asked_to_wait_until(self) -> datetime | None:
        """The time until which the API asks to send no requests; None if it does not."""
        return Waits.of(self.data.records, now()).everybody

    @contextlib.contextmanager
    def builder(self) -> Iterator[Builder]:
        """A builder of tables as of now; holds the lock."""
        with (
            self.data.exclusive(),
            Builder(
                self.data, now(), self.settings.expire_after, self.settings.secret, self.settings.rebuild_processes
            ) as builder,
        ):
            yield builder

    def prebuild(self, number: int) -> int | None:
        """Pre-builds a share of the tables of the rebuild under way; see `shared_rebuild.prebuild`."""
        return prebuild(self.data, number, now(), self.settings.expire_after, self.settings.secret)

    @contextlib.contextmanager
    def pending_sessions(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection with the temporary table `pending_sessions` as of now. Needs no lock and writes nothing."""
        with pending_sessions(self.data, now(), self.settings.expire_after) as connection:
            yield connection

    def publish(self, builder: Builder | None = None) -> Published:
        """Updates every table, then publishes all of them, so that the file shows one state of the data.

        Pass the run's `builder` to skip the tables that it has already updated.
        """
        with contextlib.nullcontext(builder) if builder else self.builder() as current:
            current.build_published()
            window = Window.until(current.now, self.settings.publish_days)
            if window.first_day:
                current.save()  # the window's days of submission follow from the manifest
            return publish(self.data, window)

    def compact(self) -> None:
        """Merges the small raw objects of past days, and removes pre-built objects that came too late.

        No other step depends on it. Raises StoreError.
        """
        with self.data.exclusive():
            Prebuilt(self.data.storage).sweep()
            for endpoint in ENDPOINTS:
                compaction.compact(self.data, endpoint.table, now())

    def is_report_current(self) -> bool:
        """Whether the existing report is up to date."""
        self.data.current(self.data.report)
        return is_current(self.data, self.settings.env, now())

    def report(self, process: DrawingProcess | None = None) -> Path:
        """Writes the report from the published file and returns its path. Raises PublishError and ReportError.

        Pass a `process` that was started earlier to avoid waiting for the drawing libraries.
        """
        self.data.current(self.data.warehouse)
        self._write_report(process)
        self.data.push(self.data.report)
        return self.data.report

    def rebuild(self) -> Published:
        """Rebuilds every table from raw, and publishes."""
        with self.builder() as builder:
            builder.forget_all()
        return self.publish()

    def rebuild_as_of(self, moment: datetime, folder: Path) -> Published:
        """Builds the tables as of a past time in a new folder, from the raw data received until then.

        The folder becomes a data directory of no current environment, so no run writes to it.
        Raises SnapshotError if the time is in the future, or the folder is not empty or inside the data directory.
        """
        if moment > now():
            raise SnapshotError(f"{moment.isoformat()} is in the future: give a time in the past")
        if folder.resolve().is_relative_to(self.data.root.resolve()):
            raise SnapshotError(f"{folder} is inside the data directory {self.data.root}: choose a folder outside it")
        if folder.exists() and any(folder.iterdir()):
            raise SnapshotError(f"{folder} is not empty: choose a folder that does not exist yet")
        past = DataDirectory(folder.absolute(), memory_limit=self.settings.memory_limit)
        past.claim(f"{self.settings.env} as of {moment.isoformat()}", self.settings.api)
        with past.exclusive():
            copy_raw(self.data.store, past.store, moment)
            copy_reference(self.data, past)
            with Builder(past, moment, self.settings.expire_after, self.settings.secret) as builder:
                builder.build_published()
            return publish(past, Window.until(moment, self.settings.publish_days))

    def _recover(self) -> list[str]:
        """Seals the journals of killed runs; returns a line for people on each torn or damaged one."""
        return [line for endpoint in ENDPOINTS for line in raw_log.recover(self.data, endpoint.table)]

    def _write_report(self, process: DrawingProcess | None) -> None:
        with contextlib.ExitStack() as stack:
            if process is None and sys.flags.optimize > 1:
                process = stack.enter_context(DrawingProcess())
            if process:
                process.draw(self.data, self.settings.env, now())
                return
        from pipeline.report.page import write_report

        write_report(self.data, self.settings.env, now())

    def _sessions_to_poll(self, waiting: Iterable[str]) -> PendingSessions:
        store = self.data.store
        with connect(self.data) as connection:
            rows = run(
                connection,
                f"""
                SELECT session_id, epoch(started_at(initiated_at, submitted_at)) AS started_at,
                    epoch(last_polled_at) AS asked_at
                FROM {store.scan(PENDING_SESSIONS)}
                WHERE session_id NOT IN (SELECT unnest($waiting::VARCHAR[])) AND session_id NOT IN (
                    SELECT session_id FROM {store.scan(STATUS_RESPONSES)}
                    WHERE outcome IN ('fulfilled', 'failed') AND session_id IN (
                        SELECT session_id FROM {store.scan(PENDING_SESSIONS)}))
                ORDER BY last_polled_at NULLS FIRST, submitted_at DESC, session_id
                """,
                {"waiting": list(waiting)},
            )
            return PendingSessions.from_batches(rows.to_arrow_reader())


def _poll(
    data: DataDirectory,
    settings: Settings,
    sessions: PendingSessions,
    on_progress: Callable[[Progress], None],
    check: Callable[[], None] = lambda: None,
) -> Progress:
    """Polls the sessions of one shard in this process."""
    # Importing the HTTP client takes a quarter of a second, so only polling imports it.
    from pipeline.polling.run import poll

    law = learned_law(data)
    with serving_url(settings, BUY_STATUS) as url:
        return poll(data, settings, BUY_STATUS, url, sessions, on_progress, law, check)


@contextlib.contextmanager
def serving_url(settings: Settings, endpoint: Endpoint) -> Iterator[str]:
    """The URL of the endpoint at the API, or in `local` without a URL, at a simulator that runs during the block."""
    if settings.base_url is not None:
        yield endpoint_url(settings.base_url, settings.api_prefix, endpoint.path)
        return
    # The simulator's server is slow to import, and only a local run needs it.
    from pipeline.simulator.server import Simulator
    from pipeline.simulator.service import serve

    simulator = Simulator(prefix=settings.api_prefix, hold=_LOCAL_HOLD, fault_rate=_LOCAL_FAULT_RATE)
    with serve(simulator) as url:
        yield endpoint_url(url, settings.api_prefix, endpoint.path)
