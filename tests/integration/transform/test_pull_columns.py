"""Dates and prices of purchases and pulls: what an analyst groups by, and what each pull came to."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest

from pipeline.schema.staging import PULLS
from pipeline.simulator.server import PENDING, Reply, Simulator
from pipeline.steps import Workspace
from tests.support.answers import answer
from tests.support.workspace import build_all, drop, records, refresh, rows

pytestmark = pytest.mark.one_python

SEED = 21


@pytest.fixture
def published(copy_of) -> Workspace:
    """Sessions of all prices: submitted ones, the reference's by quantity and by pulls, none, and free ones."""
    chance = random.Random(SEED)  # noqa: S311
    scripts, lines = {"waiting": [PENDING]}, ["session_id,initiated_at,pack_id,price_usd,quantity"]
    for i in range(60):
        quotes = [chance.choice([None, 0, round(chance.lognormvariate(2, 1), 4)]) for _ in range(chance.randint(1, 7))]
        items = [{"id": f"i{n}", "buyback_price": quote} for n, quote in enumerate(quotes)]
        scripts[f"s{i}"] = [Reply(200, answer(f"s{i}", items))]
        started = chance.choice(
            ["", "2026-01-31T23:59:59.999999Z", "2026-02-01T00:00:00+01:00", "2025-12-31T20:00:00-05:00"]
        )
        price = chance.choice(["", "0", "10", "0.0001", "33.3333", "99999999999.9999"])
        lines.append(f"s{i},{started},{chance.choice(['', 'p', 'q'])},{price},{chance.choice(['', '1', '3'])}")

    def build(opened: Workspace) -> None:
        workspace = Workspace(opened.settings.model_copy(update={"poll_interval": 5.0, "poll_budget": 1}), opened.data)
        workspace.data.packs_file.parent.mkdir(exist_ok=True)
        workspace.data.packs_file.write_text("pack_id,price_usd\np,7.77\n")
        drop(workspace, "x.csv", "\n".join([*lines, "waiting,,,,", ""]))
        refresh(workspace)

    published: Workspace = copy_of("published", lambda: Simulator(hold=0, scripts=scripts), build)
    return published


def day(moment: datetime | None) -> object:
    return moment and moment.astimezone(UTC).date()


def test_each_date_is_the_utc_day_of_its_time_whatever_the_client_s_zone(published):
    purchases, pulls = records(published, "FROM purchases"), records(published, "FROM pulls")
    for row in purchases:
        for name in ("initiated", "submitted", "resolved"):
            assert row[f"{name}_date"] == day(row[f"{name}_at"])
    for row in pulls:
        assert (row["pulled_date"], row["resolved_date"]) == (day(row["pulled_at"]), day(row["resolved_at"]))
    assert {row["initiated_date"] is None for row in purchases} == {True, False}
    assert {str(row["pulled_date"]) for row in pulls} >= {"2026-01-31", "2026-01-01"}
    assert [row["resolved_date"] for row in purchases if row["session_id"] == "waiting"] == [None]


def test_a_pull_s_price_and_multiple_are_those_of_its_session(published):
    purchases = {row["session_id"]: row for row in records(published, "FROM purchases")}
    seen = {"no price": 0, "free": 0, "no quote": 0, "multiple": 0}
    for pull in records(published, "FROM pulls"):
        session = purchases[pull["session_id"]]
        count, price = session["pull_count"], session["price_usd"]
        if price is None and session["pack_id"] == "p":
            price = Decimal("7.77") * (session["quantity"] or count)
        assert pull["session_price_usd"] == price
        expected: tuple[Any, Any]
        if price is None:
            kind, expected = "no price", (None, None)
        else:
            each = (price / count).quantize(Decimal("0.0001"), ROUND_HALF_UP)
            kind = "free" if price == 0 else "no quote" if pull["buyback_price_usd"] is None else "multiple"
            quote = pull["buyback_price_usd"]
            expected = (each, pytest.approx(float(quote * count / price)) if kind == "multiple" else None)
        assert (pull["price_per_pull_usd"], pull["multiple"]) == expected
        seen[kind] += 1
    print(f"seed {SEED}: {seen}")
    assert min(seen.values()) > 5


def test_a_file_of_packs_that_was_only_touched_makes_no_pull_anew(published):
    packs = published.data.packs_file
    packs.write_text("pack_id,name,price_usd\np,,7.77\n")
    with published.builder() as builder:
        assert builder.build(PULLS).written == []
    packs.write_text("pack_id,price_usd\np,8\n")
    build_all(published)
    published.publish()
    sql = "SELECT count(*) FROM pulls JOIN purchases USING (session_id) WHERE pulls.pack_id = 'p' AND price_usd IS NULL"
    changed = f"{sql} AND session_price_usd = 8 * coalesce(quantity, pull_count)"
    assert rows(published, changed) == rows(published, sql) != [(0,)]
