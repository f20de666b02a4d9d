"""The memory limit: every connection has it, and a query that needs more says so in one line."""

from __future__ import annotations

import pytest

from pipeline.clock import now
from pipeline.publish.reading import open_for_queries
from pipeline.publish.warehouse import open_warehouse
from pipeline.report import ReportError, queries
from pipeline.report.page import write_report
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.errors import MemoryLimitError
from tests.support.command_line import phygitals_here
from tests.support.workspace import drop, refresh

pytestmark = pytest.mark.one_python

LIMIT = "SELECT current_setting('memory_limit')"
LARGE = "SELECT list(repeat(md5(i::VARCHAR), 50)) FROM range(20_000_000) t(i)"  # grows fast


@pytest.fixture
def small(configure, copy_of):
    """A workspace of ten sessions, opened with the least limit."""

    def build(workspace: Workspace) -> None:
        drop(workspace, "a.csv", "session_id,pack_id,price_usd\n" + "".join(f"s{i},p,50\n" for i in range(10)))
        refresh(workspace)

    copy_of("ten sessions", lambda: Simulator(delay_scale=0, hold=0), build)
    configure(memory_limit="250 MB")
    return Workspace.open()


def test_every_connection_of_a_workspace_has_the_limit_of_its_settings(small):
    data = small.data
    with connect(data) as made, open_warehouse(data.warehouse, data.memory_limit) as opened:
        assert made.execute(LIMIT).fetchall() == opened.execute(LIMIT).fetchall() == [("238.4 MiB",)]
    with open_for_queries(data.warehouse, data.memory_limit) as asked:
        assert asked.execute(LIMIT).fetchall() == [("238.4 MiB",)]


def test_the_tables_are_built_and_published_within_the_least_limit(small):
    assert small.rebuild().row_counts["purchases"] == 10
    assert small.report().exists()


@pytest.mark.parametrize("streams", [False, True])
def test_a_query_that_needs_more_is_refused_with_the_name_of_the_variable(tmp_path, streams):
    with (
        pytest.raises(MemoryLimitError, match="PHYGITALS_MEMORY_LIMIT=60MB allows: .*; set a higher") as refusal,
        connect(DataDirectory(tmp_path, memory_limit="60MB")) as connection,
    ):
        list(connection.execute(LARGE).to_arrow_reader()) if streams else connection.execute(LARGE).fetchall()
    assert "\n" not in str(refusal.value)


def test_the_command_query_names_the_variable(small):
    asked = phygitals_here("query", LARGE)
    assert asked.returncode == 1
    assert asked.stderr.startswith("Error: a query needs more memory than PHYGITALS_MEMORY_LIMIT=250 MB allows")
    assert asked.stderr.count("\n") == 1


def test_the_report_names_the_variable(small, monkeypatch):
    monkeypatch.setattr(queries, "read", lambda connection, _moment: connection.execute(LARGE))
    with pytest.raises(ReportError, match="PHYGITALS_MEMORY_LIMIT=250 MB"):
        write_report(small.data, "production", now())
