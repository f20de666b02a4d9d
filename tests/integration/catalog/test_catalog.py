"""What the catalog says of each asset, and what each materialization shows, in runs of the real job."""

from __future__ import annotations

import re
import subprocess
import sys

import dagster as dg
import pytest

from pipeline.catalog.lineage import asset_origins
from pipeline.catalog.markdown import INLINE
from pipeline.definitions import defs
from pipeline.orchestration.declared import column_lineage, upstream
from pipeline.schema import TABLES
from pipeline.simulator.server import PENDING, Reply, Simulator
from pipeline.steps import Workspace
from tests.support.workspace import drop

ASSETS = [table for table in TABLES.values() if table.is_asset]
HOSTILE = "](http://evil.example) | `x` <img src=x onerror=alert(1)>\n| --- |"


def specs() -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


@pytest.mark.parametrize("table", ASSETS, ids=lambda t: t.name)
def test_every_asset_is_described_by_its_declaration(table):
    spec = specs()[table.name]
    assert str(spec.description) == table.grain.replace("`", "")
    assert spec.owners and spec.kinds and spec.tags["zone"] == table.zone.value
    assert spec.metadata["dagster/table_name"] == table.name
    assert spec.metadata["dagster/uri"].startswith("file:///")
    assert spec.metadata["dagster/uri"].endswith(f"/{table.name}")


def test_no_description_has_markup_because_the_catalog_shows_it_as_text():
    shown = [str(spec.description) for spec in specs().values()]
    assert len(shown) > len(ASSETS)
    assert not [text for text in shown if re.search(r"[`*\[#\n]", text)]


@pytest.mark.parametrize("table", ASSETS, ids=lambda t: t.name)
def test_every_asset_page_links_to_what_its_table_refers_to_and_is_derived_from(table):
    metadata = specs()[table.name].metadata
    found = {
        name: set(re.findall(r"/assets/(\w+)\)", metadata[name].value))
        for name in ("references", "derived_from")
        if name in metadata
    }
    expected = {"references": {reference.table for reference in table.references}, "derived_from": set(upstream(table))}
    assert found == {name: tables for name, tables in expected.items() if tables}
    assert ("key" in metadata) == bool(table.key)


@pytest.mark.parametrize("table", ASSETS, ids=lambda t: t.name)
def test_every_column_shows_its_declaration_and_links_to_its_sources(table):
    shown = specs()[table.name].metadata["dagster/column_schema"].columns
    assert [(c.name, c.type, c.constraints.nullable) for c in shown] == [
        (c.name, c.type, not c.is_required) for c in table.columns
    ]
    for column, declared in zip(shown, table.columns, strict=True):
        assert str(column.description).startswith(declared.description)
        assert declared.unit is None or f"({declared.unit})" in column.description
        links = re.findall(r"\[[\w. ]+\]\(/assets/(\w+)\)", column.description)
        origins = asset_origins(table)[declared.name]
        assert set(links) == {origin.table for origin in origins if TABLES[origin.table].is_asset}
        assert all(origin.label in column.description for origin in origins)


def test_keys_accepted_values_and_references_are_shown_as_constraints():
    pulls = {c.name: c for c in specs()["pulls"].metadata["dagster/column_schema"].columns}
    assert pulls["session_id"].constraints.other == ["key", "in purchases"]
    purchases = {c.name: c for c in specs()["purchases"].metadata["dagster/column_schema"].columns}
    assert purchases["session_id"].constraints.unique
    assert purchases["status"].constraints.other == ["one of pending, fulfilled, failed, expired"]


def test_the_catalog_loads_while_the_settings_are_wrong(configure):
    configure(env="nowhere")
    program = (
        "from pipeline.orchestration.declared import table_spec; from pipeline.schema import TABLES; "
        "print('dagster/uri' in table_spec(TABLES['pulls']).metadata)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def refresh() -> dict[str, dict[str, dg.MetadataValue]]:
    """Runs the job for all tables; returns what each materialization shows."""
    with dg.DagsterInstance.ephemeral() as instance:
        chosen = [dg.AssetKey(table.name) for table in ASSETS]
        result = defs.resolve_job_def("refresh").execute_in_process(instance=instance, asset_selection=chosen)
    assert result.success
    return {
        event.materialization.asset_key.to_user_string(): dict(event.materialization.metadata)
        for event in result.get_asset_materialization_events()
    }


def numbers(metadata: dict[str, dg.MetadataValue]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in metadata.items():
        if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue):
            assert value.value is not None, name
            found[name] = value.value
    return found


Shown = dict[str, dict[str, dg.MetadataValue]]


@pytest.fixture(scope="module")
def shown_by_runs() -> list[Shown]:
    """What the runs of `runs` showed, once they were run."""
    return []


@pytest.fixture
def runs(shown_by_runs, api, configure):
    """Two runs: the first with a failure, a session that stays pending and an item with a hostile name."""
    if shown_by_runs:
        return shown_by_runs
    answer = {
        "result": {
            "session_id": "odd",
            "user_id": HOSTILE,
            "public_id": "_1",
            "tx_hash": "t",
            "nfts": [{"id": HOSTILE, "type": "ebay", "buyback_price": 3, "content": {"metadata": {"name": HOSTILE}}}],
        }
    }
    scripts = {
        "odd": [Reply.json(answer)],
        "bad": [Reply.json({"error": "Transaction failed"}, 400)],
        "slow": [PENDING],
    }
    api(Simulator(delay_scale=0, hold=0, scripts=scripts))
    configure(poll_budget=1)
    drop(Workspace.open(), "a.txt", "odd\nbad\nslow\n" + "".join(f"s{i}\n" for i in range(20)))
    shown_by_runs.append(refresh())
    drop(Workspace.open(), f"{HOSTILE[:20].replace('/', '')}.csv", f'session_id\n"{HOSTILE}"\n')
    shown_by_runs.append(refresh())
    return shown_by_runs


def test_each_materialization_shows_what_a_person_on_call_wants(runs):
    first, second = runs
    for table in ASSETS:
        for metadata in (first[table.name], second[table.name]):
            assert {"dagster/row_count", "bytes", "seconds"} <= numbers(metadata).keys()
            texts = [value.value for value in metadata.values() if isinstance(value, dg.MarkdownMetadataValue)]
            assert texts and all(len(text) < INLINE for text in texts)
            # Outside of code spans there is nothing that was received.
            assert not any("evil" in re.sub(r"`[^`\n]*`", "", text) for text in texts)
        assert numbers(first[table.name]).keys() == numbers(second[table.name]).keys()
        if table.sources:
            assert first[table.name]["dagster/column_lineage"].value == column_lineage(table)
    assert "data:image/svg+xml" in str(first["purchases"]["rows_by_day"].value)


def test_outcomes_retries_rejections_and_what_waits_are_counted(runs):
    first, second = runs
    assert first["purchases"]["rows_by_status"].value == "pending 1, fulfilled 21, failed 1"
    asked = numbers(first["status_responses"])
    assert asked["requests"] == asked["retries"] + 23
    assert asked["retries"] >= 1
    assert asked["still_pending"] == 1
    # What this run did stands apart from how the table stands.
    done = str(first["status_responses"]["this_run"].value)
    assert re.match(r"21 fulfilled, 1 failed, 1 pending of 23 sessions; \d+ requests", done)
    stands = str(first["status_responses"]["rows_by_outcome"].value)
    assert "fulfilled 21" in stands and "refused" not in stands
    assert len(asked) <= 8
    assert numbers(second["session_submissions"])["rejected"] == 1
    waiting = numbers(second["pending_sessions"])
    assert waiting["dagster/row_count"] == 1
    assert waiting["oldest_age_seconds"] > 0
    assert "`slow`" in str(second["pending_sessions"]["oldest"].value)
