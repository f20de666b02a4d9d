"""When a table's SQL or columns change, the next run derives its history anew by itself, and says so."""

from __future__ import annotations

import dataclasses
import shutil
from datetime import timedelta

import dagster as dg
import pyarrow.parquet as pq
import pytest

from pipeline.clock import now
from pipeline.orchestration.composition import build_definitions
from pipeline.orchestration.resources import workspace_resource
from pipeline.schema import PUBLISHED, TABLES
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.schema.staging import PULLS
from pipeline.simulator.server import FAILED, Simulator
from pipeline.steps import Workspace
from pipeline.storage.raw_log import Response, ResponseLog
from pipeline.transform import fingerprint, queries
from tests.support.answers import fulfilled
from tests.support.lake import lake_hashes
from tests.support.workspace import drop, refresh, rows

CHANGES = {
    "the query of pulls": (
        ("pulls.sql", "not_blank(item.name) AS name", "upper(not_blank(item.name)) AS name"),
        "pulls",
        ("SELECT DISTINCT name FROM pulls", [("GLIMMERWING",)]),
    ),
    "the query of a step on the way": (
        (
            "slow_path_results.sql",
            "{{ result_texts }}",
            "NULL::VARCHAR AS user_id, 'strange' AS public_id, NULL::VARCHAR AS tx_hash",
        ),
        "fulfilled_results",
        ("SELECT session_id FROM purchases WHERE public_id = 'strange'", [("odd",)]),
    ),
    "a rule that one query uses by way of another rule": (
        ("macros.sql", "THEN TRY_CAST(t AS DOUBLE)", "THEN TRY_CAST(t AS DOUBLE) + 1"),
        "item_attributes",
        ("SELECT DISTINCT value_number FROM item_attributes", [(2000,)]),
    ),
}
READ_FROM_TEXT = {table.name for table in TABLES.values() if table.reads_answer_text}


@pytest.fixture
def workspace(copy_of):
    """Answers of yesterday and of today, one of them strange, and a failed session, in tables."""
    year = {"trait_type": "Year", "value": "1999"}
    card = {"id": "a", "content": {"metadata": {"name": "Glimmerwing", "attributes": [year]}}}
    scripts = {"plain": [fulfilled("plain", card)], "odd": [fulfilled("odd", card | {"type": 5})], "lost": [FAILED]}

    def build(workspace: Workspace) -> None:
        drop(workspace, "a.txt", "earlier\nplain\nodd\nlost\n")
        workspace.take_in()
        yesterday = now() - timedelta(days=1)
        at = int(yesterday.timestamp() * 1_000_000)
        log = ResponseLog(workspace.data, STATUS_RESPONSES, yesterday)
        answer = fulfilled("earlier", card).body
        log.append(Response("earlier", at, at, 200, "application/json", answer, "fulfilled", None))
        log.close()
        refresh(workspace)

    return copy_of("built", lambda: Simulator(delay_scale=0, hold=0, scripts=scripts), build)


@pytest.fixture
def sql(tmp_path, monkeypatch):
    """The folder of the pipeline's SQL, as an update of the pipeline would leave it."""
    folder = tmp_path / "sql"
    shutil.copytree(queries._SQL, folder)
    monkeypatch.setattr(queries, "_SQL", folder)
    return folder


def edit(sql, name, former, latter):
    path = sql / name
    assert former in path.read_text()
    path.write_text(path.read_text().replace(former, latter))


def is_made_from(table, name):
    return table.name == name or any(is_made_from(TABLES[source], name) for source in table.sources)


def reports(workspace):
    with workspace.builder() as builder:
        return {table.name: builder.build(table) for table in PUBLISHED}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_made_by_changed_sql_is_derived_anew_and_nothing_else(change, workspace, sql):
    (name, former, latter), changed, (question, answer) = CHANGES[change]
    edit(sql, name, former, latter)
    found = reports(workspace)
    derived = {table.name for table in PUBLISHED if is_made_from(table, changed)}
    assert derived
    assert {name for name, report in found.items() if report.line} == derived
    for table in derived:
        assert set(found[table].written) == set(workspace.data.store.parts(TABLES[table]))
        assert f"{table} was rebuilt" in found[table].line
    assert all(not report.written for name, report in found.items() if name not in derived)
    workspace.publish()
    assert rows(workspace, question) == answer


@pytest.mark.parametrize("change", CHANGES)
def test_a_history_derived_anew_is_the_one_that_is_built_from_nothing(change, workspace, sql):
    edit(sql, *CHANGES[change][0])
    reports(workspace)
    found = lake_hashes(workspace)
    workspace.rebuild()
    assert lake_hashes(workspace) == found


def test_words_about_the_rules_and_rules_that_no_query_uses_change_nothing(workspace, sql):
    path = sql / "macros.sql"
    path.write_text(f"-- Said in other words.\n{path.read_text()}\n-- And more.\nCREATE TEMP MACRO unused(x) AS x;\n")
    assert not any(report.line or report.written for report in reports(workspace).values())


def test_changed_columns_are_noticed_too(workspace):
    columns = (dataclasses.replace(c, type="DATE") if c.name == "resolved_at" else c for c in PULLS.columns)
    changed = dataclasses.replace(PULLS, columns=tuple(columns))
    with workspace.builder() as builder:
        report = builder.build(changed)
    assert report.line and len(report.written) == 2
    for paths in workspace.data.store.parts(PULLS).values():
        assert [str(pq.read_schema(path).field("resolved_at").type) for path in paths] == ["date32[day]"]


def test_a_changed_reader_of_the_answers_text_is_noticed_too(workspace, tmp_path, monkeypatch):
    for reader in fingerprint._READERS:
        changed = tmp_path / reader.name
        changed.write_text(reader.read_text() + "# and more\n")
        readers = tuple(changed if path is reader else path for path in fingerprint._READERS)
        monkeypatch.setattr(fingerprint, "_READERS", readers)
        found = reports(workspace)
        derived = {name for name, report in found.items() if report.line}
        assert derived == {t.name for t in PUBLISHED if any(is_made_from(t, name) for name in READ_FROM_TEXT)}
        assert not any(report.line for report in reports(workspace).values())


def test_it_is_said_once(workspace, sql):
    edit(sql, *CHANGES["the query of pulls"][0])
    reports(workspace)
    again = reports(workspace)
    assert not any(report.line or report.written for report in again.values())


def test_neither_a_first_build_nor_a_rebuild_nor_new_answers_are_a_change(workspace):
    shutil.rmtree(workspace.data.root / "lake")
    shutil.rmtree(workspace.data.root / "staging")
    assert not any(report.line for report in reports(workspace).values())
    drop(workspace, "b.txt", "another\n")
    workspace.take_in()
    found = reports(workspace)
    assert found["purchases"].written
    with workspace.builder() as builder:
        builder.forget_all()
    assert not any(report.line for report in [*found.values(), *reports(workspace).values()])


def test_a_run_of_the_job_says_it_in_its_log_and_to_the_command(workspace, sql):
    edit(sql, *CHANGES["the query of pulls"][0])
    told: list[str] = []
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_definitions(workspace_resource(told.append)).resolve_job_def("refresh")
        result = job.execute_in_process(instance=instance)
        log = [entry.user_message for entry in instance.all_logs(result.run_id)]
    lines = [line for line in told if "was rebuilt" in line]
    assert "pulls was rebuilt from its whole history: its rules or columns changed" in lines
    assert not any(line.startswith("purchases") for line in lines)
    assert set(lines) <= set(log)
