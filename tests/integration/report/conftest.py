"""Fixtures of the tests of the report."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from pipeline.schema import PUBLISHED


@pytest.fixture
def published(tmp_path: Path):
    """A published file with rows that the test writes itself, in the declared tables."""

    def publish(**tables: str) -> Path:
        path = tmp_path / "published.duckdb"
        with duckdb.connect(path) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for table in PUBLISHED:
                columns = ", ".join(f'"{column.name}" {column.type}' for column in table.columns)
                connection.execute(f"CREATE OR REPLACE TABLE {table.name} ({columns})")
                if table.name in tables:
                    connection.execute(f"INSERT INTO {table.name} BY NAME {tables[table.name]}")
        return path

    return publish
