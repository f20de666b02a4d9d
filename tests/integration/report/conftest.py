"""Fixtures of the tests of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair as alt
import duckdb
import pytest
import vl_convert

from pipeline.schema import PUBLISHED


@pytest.fixture(autouse=True)
def _charts_follow_the_schema(monkeypatch: pytest.MonkeyPatch):
    """The product draws without a look at Vega-Lite's schema, to save time; here every chart is held to it."""
    convert = vl_convert.vegalite_to_svg

    def validated(specification: dict[str, Any], **options: Any) -> str:
        alt.Chart.from_dict(specification)
        return convert(specification, **options)

    monkeypatch.setattr(vl_convert, "vegalite_to_svg", validated)


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
