"""The status of an environment: what is pending, how the last run ended, what is published, what needs a person.

Needs no key and no lock, starts nothing and writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import PurePosixPath
from typing import Literal

import duckdb

from pipeline.clock import now
from pipeline.orchestration.history_storage import HistoryUnknownError
from pipeline.orchestration.lateness import late_after
from pipeline.orchestration.run_history import History, Run, Trigger, read_history
from pipeline.publish.warehouse import open_warehouse
from pipeline.report.wording import duration
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.settings import Environment, Settings
from pipeline.sources.inbox import Inbox
from pipeline.sources.kinds import SELLBACKS, SESSIONS, Kind
from pipeline.sources.only_here import files_only_here
from pipeline.sources.packs_file import read_packs
from pipeline.sources.postgres import last_failure
from pipeline.steps import Workspace
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.parquet_query import read_parquet
from pipeline.storage.window import Window

NEEDS_A_PERSON = 3  # the exit code
KINDS = (SESSIONS, SELLBACKS)
MAIN_TABLES = ("purchases", "pulls", "items", "data_issues")
_RUN_AGAIN = "run `phygitals refresh`"

AgeRange = Literal["under a minute", "1 to 10 minutes", "10 to 60 minutes", "1 to 24 hours", "over a day"]
Reason = Literal[
    "last_run_failed",
    "api_key_refused",
    "no_recent_success",
    "file_rejected",
    "database_unread",
    "published_file_missing",
]

_AGES = """
    SELECT
        CASE
            WHEN age < INTERVAL 1 MINUTE THEN 'under a minute'
            WHEN age < INTERVAL 10 MINUTE THEN '1 to 10 minutes'
            WHEN age < INTERVAL 1 HOUR THEN '10 to 60 minutes'
            WHEN age < INTERVAL 1 DAY THEN '1 to 24 hours'
            ELSE 'over a day'
        END AS pending_for,
        count(*), min(submitted_at), count(*) FILTER (poll_count = 0)
    FROM (SELECT *, $now - submitted_at AS age FROM pending_sessions)
    GROUP BY ALL ORDER BY min(age)
"""
_LONGEST = """
    SELECT session_id, submitted_at, last_polled_at, poll_count
    FROM pending_sessions ORDER BY submitted_at, session_id LIMIT 10
"""
_BY_STATUS = "SELECT status, count(*) AS sessions FROM purchases GROUP BY status ORDER BY sessions DESC, status"


@dataclass(frozen=True)
class Age:
    """The pending sessions of one range of ages."""

    pending_for: AgeRange
    sessions: int
    oldest: datetime
    never_polled: int


@dataclass(frozen=True)
class PendingSession:
    """One pending session; `last_polled_at` is None if it was never polled."""

    session_id: str
    submitted_at: datetime
    last_polled_at: datetime | None
    polls: int


@dataclass(frozen=True)
class Pending:
    """The pending sessions according to raw. `ages` begins with the youngest, `longest` has at most ten."""

    sessions: int
    never_polled: int
    oldest: datetime | None
    ages: list[Age]
    longest: list[PendingSession]


@dataclass(frozen=True)
class PublishedDays:
    """The days of the tables that are cut by day."""

    first_day: date
    last_day: date


@dataclass(frozen=True)
class PublishedFile:
    """The published DuckDB file, the rows of its main tables, and its purchases by status.

    `window` is None if the file has all days.
    """

    path: str
    published_at: datetime
    window: PublishedDays | None
    rows: dict[str, int]
    purchases_by_status: dict[str, int]


@dataclass(frozen=True)
class Need:
    """Something that needs a person. `reason` is fixed, `message` says what to do."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Status:
    """The status as of `as_of`. docs/reference/json-output.md describes the fields, which are those of `--json`.

    `history_unknown_because` has the reason if the runs and triggers are unknown.
    """

    environment: Environment
    data_directory: str
    as_of: datetime
    new_files: dict[str, int]
    pending: Pending
    last_run: Run | None
    last_success_at: datetime | None
    history_unknown_because: str | None
    published: PublishedFile | None
    schedules: Trigger
    sensors: Trigger
    needs_person: list[Need]


def status_of(workspace: Workspace) -> Status:
    """The status now. Raises PipelineError if data cannot be read."""
    data, moment = workspace.data, now()
    pending = _pending(workspace, moment)
    unknown = None
    try:
        history = read_history(workspace.settings.env, data.root, data.lake_url, data.is_being_written(), moment)
    except HistoryUnknownError as error:
        unknown = str(error)
        history = History(None, None, None, Trigger(), Trigger())
    return Status(
        environment=workspace.settings.env,
        data_directory=str(data.root),
        as_of=moment,
        new_files={kind.folder: len(Inbox(data, kind).new_files()) for kind in KINDS},
        pending=pending,
        last_run=history.last_run,
        last_success_at=history.last_success_at,
        history_unknown_because=unknown,
        published=_published(data),
        schedules=history.schedules,
        sensors=history.sensors,
        needs_person=[
            *_failed_run(history),
            *_refused_key(data, history),
            *_overdue(workspace.settings, pending, history, moment),
            *(need for kind in KINDS for need in _rejected_files(data, kind)),
            *_rejected_packs(data),
            *_unread_files(data),
            *_unread_database(workspace),
            *_missing_file(data, history),
        ],
    )


def _pending(workspace: Workspace, moment: datetime) -> Pending:
    with workspace.pending_sessions() as connection:
        ages = [Age(*row) for row in connection.execute(_AGES, {"now": moment}).fetchall()]
        longest = [PendingSession(*row) for row in connection.execute(_LONGEST).fetchall()]
    return Pending(
        sessions=sum(age.sessions for age in ages),
        never_polled=sum(age.never_polled for age in ages),
        oldest=min((age.oldest for age in ages), default=None),
        ages=ages,
        longest=longest,
    )


def _published(data: DataDirectory) -> PublishedFile | None:
    if not data.current(data.warehouse).exists():
        return None
    with open_warehouse(data.warehouse, data.memory_limit) as connection:
        return PublishedFile(
            path=str(data.warehouse),
            published_at=datetime.fromtimestamp(data.warehouse.stat().st_mtime, UTC),
            window=_window(connection),
            rows={table: _count(connection, table) for table in MAIN_TABLES},
            purchases_by_status=dict(connection.execute(_BY_STATUS).fetchall()),
        )


def _window(connection: duckdb.DuckDBPyConnection) -> PublishedDays | None:
    window = Window.of_file(connection)
    return PublishedDays(window.first_day, window.last_day) if window.first_day and window.last_day else None


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(row[0]) if row else 0


def _failed_run(history: History) -> list[Need]:
    """A failure counts until another run ends; a run that is queued or running may be its retry."""
    ended, last = history.last_ended, history.last_run
    if ended is None or ended.what_to_do is None or (last and last.result in ("queued", "running")):
        return []
    return [Need("last_run_failed", ended.what_to_do)]


def _refused_key(data: DataDirectory, history: History) -> list[Need]:
    """The newest answer refused the key, and no run has succeeded since."""
    days = data.store.parts(STATUS_RESPONSES)
    if not days:
        return []
    with connect(data) as connection:
        objects = data.store.scan(STATUS_RESPONSES, [max(days)])
        newest = connection.execute(f"SELECT arg_max(outcome, received_at), max(received_at) FROM {objects}").fetchone()
    if newest is None or newest[0] != "unauthorized":
        return []
    if history.last_success_at is not None and history.last_success_at > newest[1]:
        return []
    return [Need("api_key_refused", f"the API refused the key in PHYGITALS_API_KEY: correct it, then {_RUN_AGAIN}")]


def _overdue(settings: Settings, pending: Pending, history: History, moment: datetime) -> list[Need]:
    """Sessions are pending, and no run has succeeded for over two periods of the schedule."""
    since = history.last_success_at
    if not pending.sessions or since is None:
        return []
    age = moment - since
    if age <= late_after(2, settings.daily_cron, settings.poll_budget):
        return []
    line = f"sessions are pending, but no run has succeeded for {duration(age.total_seconds())}"
    return [Need("no_recent_success", f"{line}: start the daemon, or {_RUN_AGAIN}")]


def _rejected_files(data: DataDirectory, kind: Kind) -> list[Need]:
    """The files that were rejected whole and are still in their folder."""
    stored = {PurePosixPath(path).stem: path for paths in data.store.parts(kind.table).values() for path in paths}
    rejected = {name: stored[raw] for name, raw in Inbox(data, kind).rejection_objects().items() if raw in stored}
    if not rejected:
        return []
    with connect(data) as connection:
        reasons = dict.fromkeys(rejected, "")
        for name, path in rejected.items():
            row = connection.execute(
                f"SELECT rejected_reason FROM {read_parquet(kind.table, data.store.fetched([path]))}"
            ).fetchone()
            reasons[name] = row[0] if row else ""
    return [
        Need("file_rejected", f"{kind.folder}/{name}: rejected whole, {reason}; correct or remove the file")
        for name, reason in reasons.items()
    ]


def _rejected_packs(data: DataDirectory) -> list[Need]:
    """The optional packs file, if it is there and was rejected whole."""
    return [
        Need("file_rejected", f"{data.packs_file.relative_to(data.root)}: rejected whole, {row.rejected_reason}")
        for row in read_packs(data.current(data.packs_file))
        if row.row_number == 0
    ]


def _unread_files(data: DataDirectory) -> list[Need]:
    """The files that are only in this machine's working copy of the lake."""
    found = files_only_here(data, data.inbox, data.sellbacks, data.packs_file.parent)
    return [Need("file_rejected", f"{name}: not read, {reason}") for name, reason in found.items()]


def _unread_database(workspace: Workspace) -> list[Need]:
    """The last run could not read the database to its end. The database itself is not asked."""
    failure = last_failure(workspace.data) if workspace.settings.submissions_url else None
    return [Need("database_unread", f"{failure}; then {_RUN_AGAIN}")] if failure else []


def _missing_file(data: DataDirectory, history: History) -> list[Need]:
    if history.last_success_at is None or data.warehouse.exists():
        return []
    return [Need("published_file_missing", f"{data.warehouse} is missing although a run succeeded: {_RUN_AGAIN}")]
