"""Rules on what items show between sessions, beside the reference of packs, and all together: each kept and refused."""

from __future__ import annotations

import hashlib

import dagster as dg
import pytest

from pipeline.definitions import defs
from pipeline.quality.checker import CHECKS
from pipeline.quality.findings import Finding
from pipeline.simulator.server import PENDING, Reply, Simulator
from pipeline.steps import Workspace
from tests.support.answers import answer
from tests.support.workspace import drop, findings, records, refresh, rows

pytestmark = pytest.mark.one_python

AT_NINE, AT_TEN = "2026-01-01T09:00:00Z", "2026-01-01T10:00:00Z"
IMAGE = "https://cdn.example/i.png"
PACKS = "pack_id,buyback_percent,tier,fmv_low_usd,fmv_high_usd,weight"


def finding(workspace: Workspace, name: str) -> Finding:
    (check,) = [check for check in CHECKS if check.name == name]
    return findings(workspace.data, [check])[check.key]


def item(item_id: str, **metadata: object) -> dict:
    return {"id": item_id, "content": {"metadata": metadata, "links": {"image": IMAGE}}}


def resolved(api, submissions: str, *tiers: str, **answers: list[Reply]) -> Workspace:
    """A workspace whose sessions were answered so, with these rows in the reference of packs."""
    api(Simulator(hold=0, scripts=answers))
    workspace = Workspace.open()
    if tiers:
        workspace.data.packs_file.parent.mkdir()
        workspace.data.packs_file.write_text("\n".join([PACKS, *tiers, ""]))
    drop(workspace, "a.csv", submissions)
    refresh(workspace)
    return workspace


def with_card(session_id: str, tx_hash: str = "hash") -> Reply:
    return Reply(200, answer(session_id, [item("card")], tx_hash=tx_hash))


def sessions_from(first: str, second: str) -> str:
    return f"session_id,initiated_at\nfirst,{first}\nsecond,{second}\n"


def test_an_item_that_a_pending_session_has_is_no_other_s(api):
    answers = {"first": [PENDING, with_card("first")], "second": [with_card("second")]}
    workspace = resolved(api, sessions_from(AT_NINE, AT_TEN), **answers)
    found = finding(workspace, "item_is_in_one_session_at_a_time")
    assert found.offender_count == 1
    assert "session_id `first`" in found.examples[0]
    assert "other_session_id `second`" in found.examples[0]
    assert finding(workspace, "item_is_in_one_session_of_a_sandbox_at_a_time").offender_count == 0


@pytest.mark.parametrize(
    ("first", "second", "is_seen_pending"),
    [(AT_NINE, AT_TEN, False), (AT_TEN, AT_NINE, True), (AT_NINE, "", True)],
    ids=["it may have been sold back before", "the other began before", "nobody knows when the other began"],
)
def test_an_item_that_comes_again_after_its_session_is_no_finding(first, second, is_seen_pending, api):
    """However late the two are asked: an old history is asked all at once."""
    earlier = [PENDING] if is_seen_pending else []
    answers = {"first": [*earlier, with_card("first")], "second": [with_card("second")]}
    workspace = resolved(api, sessions_from(first, second), **answers)
    assert rows(workspace, "SELECT pull_count FROM repulled_items") == [(2,)]
    assert finding(workspace, "item_is_in_one_session_at_a_time").message is None


def test_a_sandbox_that_gives_an_item_to_two_sessions_is_noted_and_warned_of_by_nobody(api):
    answers = {name: [with_card(name, "sandbox_x")] for name in ("first", "second")}
    workspace = resolved(api, sessions_from(AT_NINE, AT_TEN), **answers)
    assert finding(workspace, "item_is_in_one_session_of_a_sandbox_at_a_time").offender_count == 1
    assert finding(workspace, "item_is_in_one_session_at_a_time").message is None


def test_a_note_passes_its_check_and_says_what_it_is_of(api):
    long = "1999 Charizard Holo Base PSA 10 "[:31] + "G"
    resolved(api, "session_id\ns\n", s=[Reply(200, answer("s", [item("i", name=long)]))])
    (check,) = [check for check in CHECKS if check.name == "names_are_whole"]
    chosen = dg.AssetCheckKey(dg.AssetKey(check.table.name), check.name)
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(), asset_check_selection={chosen})
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance)
    (noted,) = result.get_asset_check_evaluations()
    assert noted.passed
    assert str(noted.description) == (
        f"item_type NULL, items_that_may_be_cut `1`, items_with_a_name `1`, for_example `{long}`"
    )


def test_names_of_a_cut_one_s_length_are_counted_by_item_type(api):
    items = [item(f"{length}-{n}", name="x" * length) for length in (31, 32, 33) for n in range(2)]
    workspace = resolved(api, "session_id\ns\n", s=[Reply(200, answer("s", items))])
    found = finding(workspace, "names_are_whole")
    assert found.offender_count == 1
    assert "items_that_may_be_cut `2`, items_with_a_name `6`" in found.examples[0]


def test_names_of_other_lengths_are_no_finding(api):
    workspace = resolved(api, "session_id\ns\n", s=[Reply(200, answer("s", [item("i", name="x" * 31)]))])
    assert finding(workspace, "names_are_whole").message is None


@pytest.mark.parametrize(
    ("traits", "is_repeated"),
    [
        ([("Grade", "9"), (" grade", "10")], True),
        ([("Grade", "9"), ("The Grade", "10"), (None, "1"), (None, "2")], False),
        ([], False),
    ],
)
def test_an_item_that_has_a_trait_twice_is_flagged_and_keeps_the_first(traits, is_repeated, api):
    attributes = [{"trait_type": trait, "value": value} for trait, value in traits]
    items = [item("i", attributes=attributes)]
    workspace = resolved(api, "session_id\ns\n", s=[Reply(200, answer("s", items))])
    grade = traits[0][1] if traits else None
    assert records(workspace, "SELECT is_trait_repeated, grade FROM items") == [
        {"is_trait_repeated": is_repeated, "grade": grade}
    ]
    assert rows(workspace, "SELECT count(*) FROM item_attributes") == [(len(traits),)]
    assert finding(workspace, "traits_are_given_once").offender_count == is_repeated


def quoted_at(api, quote: float, *tiers: str) -> Finding:
    items = [item("i") | {"buyback_price": quote}]
    workspace = resolved(api, "session_id,pack_id\ns,p\n", *tiers, s=[Reply(200, answer("s", items))])
    return finding(workspace, "quotes_are_within_the_tiers")


def test_a_quote_above_the_highest_tier_is_noticed(api):
    found = quoted_at(api, 85.01, "p,85,low,0,20,80", "p,,high,20,100,20")
    assert found.offender_count == 1
    assert "highest_usd `85.0000`" in found.examples[0]


def test_a_quote_at_the_highest_tier_s_end_is_no_finding(api):
    assert quoted_at(api, 85.0, "p,85,low,0,20,80", "p,,high,20,100,20").message is None


@pytest.mark.parametrize(
    "tiers",
    [
        (),
        ("p,,low,0,20,80",),
        ("p,85,low,0,20,80", "p,,high,20,,20"),
        ("p,85,low,0,20,80", "p,,high,20,many,20"),
        ("q,85,low,0,20,80",),
    ],
    ids=["no reference", "no percentage", "no upper end", "a refused row", "another pack"],
)
def test_where_no_highest_quote_is_known_there_is_no_finding_and_the_check_says_why(tiers, api):
    found = quoted_at(api, 1_000_000, *tiers)
    assert found.offender_count == 0
    assert "nothing was compared" in str(found.message)


def missing_links(workspace: Workspace) -> list[dict]:
    return records(
        workspace,
        "SELECT severity, table_name, session_id, field, detail, source FROM data_issues WHERE rule = 'missing_link'",
    )


LINKLESS = [{"id": "a"}, {"id": "b", "content": {"links": {"image": " "}}}, item("c")]


def test_items_without_a_link_to_their_image_are_one_finding_a_day(api):
    answers = {"s": [Reply(200, answer("s", LINKLESS))], "t": [PENDING, Reply(200, answer("t", LINKLESS))]}
    workspace = resolved(api, "session_id\ns\nt\n", **answers)
    (found,) = missing_links(workspace)
    assert found == {
        "severity": "warning",
        "table_name": "pulls",
        "session_id": None,
        "field": "content.links.image",
        "detail": "4 of 6 items of the day have no link; the first is in session s",
        "source": hashlib.sha256(answer("s", LINKLESS)).hexdigest(),
    }


@pytest.mark.parametrize(
    ("items", "tx_hash"),
    [(LINKLESS, "sandbox_x"), (LINKLESS, None), ([item("c")], "hash")],
    ids=["a sandbox has none", "nothing tells whether it is a sandbox", "there is one"],
)
def test_a_link_is_missed_only_where_there_should_be_one(items, tx_hash, api):
    workspace = resolved(api, "session_id\ns\n", s=[Reply(200, answer("s", items, tx_hash=tx_hash))])
    assert missing_links(workspace) == []
