"""Steps of a run on a workspace, and what tests read of its result."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pipeline.clock import now
from pipeline.polling.progress import Progress
from pipeline.quality.checker import CHECKS, Checker
from pipeline.quality.findings import Finding
from pipeline.quality.rules import Check
from pipeline.schema import TABLES
from pipeline.schema.raw import PENDING_SESSIONS, STATUS_RESPONSES
from pipeline.schema.staging import PURCHASES
from pipeline.schema.table import Table, Zone
from pipeline.sources.intake import IntakeReport
from pipeline.sources.kinds import SELLBACKS, SESSIONS, Kind
from pipeline.steps import Workspace
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.raw_log import Response, ResponseLog

KEY = "sandbox-key-0123456789abcdef"


def drop(workspace: Workspace, name: str, content: str | bytes) -> Path:
    """Puts a file into the inbox."""
    path = workspace.data.inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@dataclass(frozen=True)
class Folder:
    """A folder that files are dropped into, and what makes a good one: what holds for all kinds is tested in each."""

    kind: Kind
    take_in: Callable[[Workspace], IntakeReport]

    @property
    def id_column(self) -> str:
        return self.kind.columns[0]

    def good(self, name: str) -> dict[str, str]:
        """A record that is accepted, of an id of that name."""
        return {self.id_column: name} | ({"sold_at": "2026-01-01"} if self.kind is SELLBACKS else {})

    def csv(self, *names: str) -> str:
        """A file of good records."""
        found = [self.good(name) for name in names]
        return "\n".join([",".join(self.good("")), *(",".join(record.values()) for record in found), ""])

    def path(self, workspace: Workspace) -> Path:
        """The folder itself, made where nobody has made it yet."""
        path = self.kind.path(workspace.data)
        path.mkdir(exist_ok=True)
        return path

    def drop(self, workspace: Workspace, name: str, content: str | bytes) -> Path:
        """Puts a file into the folder."""
        path = self.path(workspace) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def raw(self, workspace: Workspace) -> list[dict[str, Any]]:
        """The raw rows, as they were stored."""
        with connect(workspace.data) as connection:
            found = connection.execute(f"FROM {workspace.data.store.scan(self.kind.table)} ORDER BY ALL")
            stored: list[dict[str, Any]] = found.to_arrow_table().to_pylist()
            return stored

    def ids(self, workspace: Workspace) -> set[str]:
        """The ids of the accepted rows."""
        return {row[self.id_column] for row in self.raw(workspace) if row["rejected_reason"] is None}

    def reasons(self, workspace: Workspace) -> list[str]:
        """Why rows were rejected, or files."""
        return [row["rejected_reason"] for row in self.raw(workspace) if row["rejected_reason"]]


FOLDERS = (Folder(SESSIONS, Workspace.take_in), Folder(SELLBACKS, Workspace.take_in_sellbacks))


def build_all(workspace: Workspace) -> None:
    with workspace.builder() as builder:
        builder.build_published()


def findings(data: DataDirectory, checks: Sequence[Check] = CHECKS) -> dict[str, Finding]:
    """What checks find in the data as it stands, by their keys, each computed."""
    found: dict[str, Finding] = {}
    with Checker(data, now) as checker:
        for table in {check.table.name: check.table for check in checks}.values():
            computed = checker.compute([check for check in checks if check.table is table])
            found |= {check.key: finding for check, finding in computed.items()}
    return found


def keep_answer(workspace: Workspace, session_id: str, status: int, body: bytes, outcome: str) -> None:
    """Puts an answer into raw as a run would that took it to mean this, earlier versions' runs among them."""
    at = int(now().timestamp() * 1_000_000)
    with workspace.data.exclusive():
        log = ResponseLog(workspace.data, STATUS_RESPONSES, now())
        log.append(Response(session_id, at, at, status, "application/json", body, outcome, None))
        log.close()


def ask(workspace: Workspace) -> Progress:
    """The job's steps up to the answers, for tests that need no tables of them."""
    workspace.take_in()
    workspace.take_in_sellbacks()
    with workspace.builder() as builder:
        builder.build(PENDING_SESSIONS)
    return workspace.poll(lambda _progress: None)


def statuses(workspace: Workspace) -> dict[str, str]:
    """The status of each session in `purchases`, which is built with no other table than those that it reads."""
    with workspace.builder() as builder:
        builder.build(PURCHASES)
    with connect(workspace.data) as connection:
        scan = workspace.data.store.scan(PURCHASES)
        return dict(connection.execute(f"SELECT session_id, status FROM {scan}").fetchall())


def derive(workspace: Workspace, *tables: Table) -> Progress:
    """`ask`, then `build`, for tests that read no other table; `lake_rows` queries them.

    A whole refresh plans dozens of queries and publishes, which takes most of a small test's time.
    """
    progress = ask(workspace)
    build(workspace, *tables)
    return progress


def build(workspace: Workspace, *tables: Table) -> None:
    """Builds these tables and those that they are derived from."""
    wanted = _with_sources(tables)
    with workspace.builder() as builder:
        for table in (table for table in TABLES.values() if table in wanted):
            builder.build(table)


def _with_sources(tables: Iterable[Table]) -> set[Table]:
    derived = {table for table in tables if table.zone is not Zone.RAW}
    sources = {TABLES[name] for table in derived for name in table.sources}
    return derived | _with_sources(sources) if derived else set()


def refresh(workspace: Workspace) -> Progress:
    """The job's steps in their order, without Dagster around them."""
    progress = ask(workspace)
    workspace.publish()
    workspace.compact()
    return progress


def rows(workspace: Workspace, sql: str) -> list[tuple[Any, ...]]:
    """Queries the published file, as a notebook would."""
    with duckdb.connect(workspace.data.warehouse, read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(sql).fetchall()


def records(workspace: Workspace, sql: str) -> list[dict[str, Any]]:
    """The same as dictionaries."""
    with duckdb.connect(workspace.data.warehouse, read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return _as_dictionaries(connection.execute(sql))


def lake_rows(workspace: Workspace, sql: str) -> list[tuple[Any, ...]]:
    """Queries the tables of the lake that were built, published or not."""
    with _lake(workspace) as connection:
        return connection.execute(sql).fetchall()


def lake_records(workspace: Workspace, sql: str) -> list[dict[str, Any]]:
    """The same as dictionaries."""
    with _lake(workspace) as connection:
        return _as_dictionaries(connection.execute(sql))


@contextlib.contextmanager
def _lake(workspace: Workspace) -> Iterator[duckdb.DuckDBPyConnection]:
    store = workspace.data.store
    with connect(workspace.data) as connection:
        for table in (table for table in TABLES.values() if store.parts(table)):
            connection.execute(f"CREATE TEMP VIEW {table.name} AS FROM {store.scan(table)}")
        yield connection


def _as_dictionaries(cursor: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
