"""Hashes of the lake, and compaction at a given time."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow.parquet as pq

from pipeline.schema import TABLES
from pipeline.schema.raw import PENDING_SESSIONS, STATUS_RESPONSES
from pipeline.steps import Workspace
from pipeline.storage.compaction import compact
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.manifest import Manifest
from tests.support.workspace import KEY


def lake_hashes(workspace: Workspace) -> dict[str, str]:
    return hashes_of(workspace.data)


def hashes_of(data: DataDirectory) -> dict[str, str]:
    lake = data.root / "lake"
    return {str(p.relative_to(lake)): hashlib.sha256(p.read_bytes()).hexdigest() for p in lake.rglob("*.parquet")}


def table_hashes(data: DataDirectory) -> dict[str, str]:
    """A hash of each table's rows in their order, but for the pending sessions, which each run starts with."""
    found = {}
    for table in (table for table in TABLES.values() if table is not PENDING_SESSIONS):
        paths = [path for of_part in data.store.parts(table).values() for path in of_part]
        content = [pq.ParquetFile(path).read().to_pylist() for path in data.store.fetched(paths)]
        found[table.name] = hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()
    return found


def assert_secret_is_nowhere(root: Path) -> None:
    """Looks through files as they are and through every Parquet value."""

    for path in root.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path
            if path.suffix == ".parquet":
                assert KEY not in json.dumps(pq.ParquetFile(path).read().to_pylist(), default=str), path


PAST = datetime(2026, 3, 1, 12, tzinfo=UTC)


NOW = PAST + timedelta(days=2)


def compact_at(data, moment=NOW):
    with data.exclusive():
        compact(data, STATUS_RESPONSES, moment)


def derive_wrongly(data, table, part, rows):
    """Overwrites an object and notes it in the manifest, as a derivation with a fault would have done."""
    written, manifest = data.store.write(table, part, rows), Manifest(data.records)
    known = manifest.state(table).parts[part]
    noted = msgspec.structs.replace(known, etag=written.entry.etag, checksum=written.checksum)
    manifest.written(table, part, noted)
    manifest.save()
