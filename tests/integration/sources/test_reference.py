"""The optional file of packs: what is taken, what is refused in which words, and what each makes of the tables."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import duckdb
import numpy as np
import pytest
from scipy import stats

from pipeline.clock import now
from pipeline.schema import TABLES
from pipeline.simulator.server import Reply, Simulator
from pipeline.steps import Workspace
from pipeline.storage.data_directory import DataDirectory
from pipeline.transform.queries import macros
from tests.support.answers import answer
from tests.support.lake import lake_hashes
from tests.support.packs_file import HEADER
from tests.support.workspace import ask, build, build_all, drop, lake_records, lake_rows, refresh

READ = [
    *(TABLES[name] for name in ("buyback_values", "data_issues", "pack_economics", "pending_ageing", "pulls")),
    *(TABLES[name] for name in ("purchases", "tier_hit_rates", "top_pulls")),
]


@pytest.fixture
def workspace(copy_of):
    """Sessions of a pack `p`: with a price, with a quantity alone, with neither, failed, pending; and one of `q`."""
    items = {
        "priced": [{"id": "a", "buyback_price": 9}],
        "counted": [{"id": "b", "buyback_price": 17}, {"id": "c", "buyback_price": 8.5}],
        "bare": [{"id": "d", "buyback_price": 20}],
        "other": [{"id": "e", "buyback_price": 1}],
        "failed": None,
    }
    scripts = {name: [Reply(200, answer(name, nfts))] for name, nfts in items.items() if nfts}
    scripts["failed"] = [Reply.json({"error": "Transaction failed"}, 400)]
    scripts["waiting"] = [Reply.json({"status": "pending"})]

    def short_of_time(opened: Workspace) -> Workspace:
        settings = opened.settings.model_copy(update={"poll_interval": 5.0, "poll_budget": 0.5})
        return Workspace(settings, opened.data)

    def refreshed(opened: Workspace) -> None:
        workspace = short_of_time(opened)
        drop(
            workspace,
            "x.csv",
            "session_id,pack_id,price_usd,quantity\npriced,p,8,1\ncounted,p,,3\nbare,p,,\nother,q,,1\nfailed,p,,1\n"
            "waiting,p,,2\n",
        )
        refresh(workspace)

    return short_of_time(copy_of("refreshed", lambda: Simulator(hold=0, scripts=scripts), refreshed))


def give(workspace: Workspace, *lines: str, header: str = HEADER) -> None:
    """Writes the file, and brings what tests read up to date."""
    workspace.data.packs_file.parent.mkdir(exist_ok=True)
    workspace.data.packs_file.write_text("\n".join([header, *lines, ""]))
    build(workspace, *READ)


def test_without_a_file_what_depends_on_it_is_null_or_empty(workspace):
    (pack,) = lake_records(workspace, "FROM pack_economics")
    assert (pack["purchase_count"], pack["reference_price_count"], pack["spend_usd"]) == (1, 0, Decimal(8))
    assert (pack["pack_name"], pack["return_ratio_at_market_value"]) == (None, None)
    assert lake_rows(workspace, "FROM tier_hit_rates") == []
    waiting = "SELECT sum(session_count), sum(priced_session_count), sum(price_usd) FROM pending_ageing"
    assert lake_rows(workspace, waiting) == [(1, 0, None)]
    assert lake_rows(workspace, "SELECT session_id, multiple FROM top_pulls ORDER BY pull_rank LIMIT 2") == [
        ("bare", None),
        ("counted", None),
    ]


def test_a_session_without_a_price_has_the_pack_s_for_each_pack_bought_and_a_submitted_price_stands(workspace):
    give(workspace, "p,Rookie,10,85,,,,")
    (pack,) = lake_records(workspace, "FROM pack_economics")
    # 8 as submitted, 3 packs at 10, 1 pull at 10; the failed one counts as a purchase, as does the pending one.
    assert (pack["purchase_count"], pack["reference_price_count"], pack["fulfilled_count"]) == (5, 4, 3)
    assert (pack["spend_usd"], pack["buyback_total_usd"]) == (Decimal(48), Decimal("54.5"))
    assert pack["pack_name"] == "Rookie"
    assert pack["return_ratio"] == pytest.approx(54.5 / 48)
    assert pack["return_ratio_at_market_value"] == pytest.approx(54.5 / 48 / 0.85)
    # 9 for 8, 17 and 8.5 for 15 each, 20 for 10.
    assert (pack["win_rate"], pack["multiple_median"]) == (0.75, pytest.approx((9 / 8 + 17 / 15) / 2))
    assert lake_rows(workspace, "SELECT sum(priced_session_count), sum(price_usd) FROM pending_ageing") == [
        (1, Decimal(20)),
    ]
    assert lake_rows(workspace, "SELECT multiple FROM top_pulls WHERE session_id = 'counted' AND pull_number = 1") == [
        (pytest.approx(17 / 15),)
    ]
    assert lake_rows(workspace, "SELECT count(price_usd) FROM purchases") == [(1,)]
    assert lake_rows(workspace, "SELECT session_id, session_price_usd, price_per_pull_usd FROM pulls ORDER BY ALL") == [
        ("bare", Decimal(10), Decimal(10)),
        ("counted", Decimal(30), Decimal(15)),
        ("counted", Decimal(30), Decimal(15)),
        ("other", None, None),
        ("priced", Decimal(8), Decimal(8)),
    ]


@pytest.mark.one_python
def test_pulls_without_a_quote_and_free_sessions_are_no_part_of_spend_and_return_and_are_counted_beside(api):
    items = {
        "half": [{"id": "a", "buyback_price": 9}, {"id": "b"}],
        "third": [{"id": "c", "buyback_price": 1}, {"id": "d"}, {"id": "e"}],
        "free": [{"id": "f", "buyback_price": 50}],
        "unpriced": [{"id": "g", "buyback_price": 70}],
    }
    api(Simulator(hold=0, scripts={name: [Reply(200, answer(name, nfts))] for name, nfts in items.items()}))
    workspace = Workspace.open()
    drop(workspace, "x.csv", "session_id,pack_id,price_usd\nhalf,p,20\nthird,p,10\nfree,p,0\nunpriced,p,\n")
    ask(workspace)
    build(workspace, *READ)
    (pack,) = lake_records(workspace, "FROM pack_economics")
    assert (pack["spend_usd"], pack["buyback_total_usd"]) == (Decimal("13.3333"), Decimal(10))
    assert pack["return_ratio"] == pytest.approx(10 / 13.3333)
    assert pack["unquoted_spend_usd"] == Decimal("16.6667")
    counted = ("pull_count", "quoted_pull_count", "unquoted_pull_count", "free_count", "free_pull_count")
    assert [pack[name] for name in counted] == [6, 2, 3, 1, 1]
    assert (pack["free_buyback_total_usd"], pack["unpriced_count"], pack["win_rate"]) == (Decimal(50), 1, 0)
    by_day = "SELECT sum(paid_pull_count), sum(spend_usd), sum(spend_buyback_usd) FROM buyback_values"
    assert lake_rows(workspace, by_day) == [(2, Decimal("13.3333"), Decimal(10))]


def test_a_changed_file_and_a_removed_one_make_the_next_run_build_what_depends_on_it_anew(workspace):
    before = lake_hashes(workspace)
    give(workspace, "p,,10,,,,,")
    give(workspace, "p,,20,,,,,")
    assert lake_rows(workspace, "SELECT spend_usd FROM pack_economics") == [(Decimal(88),)]
    workspace.data.packs_file.unlink()
    with workspace.builder() as builder:
        assert builder.build(TABLES["pack_economics"]).written
    build_all(workspace)
    assert lake_hashes(workspace) == before


def test_an_unchanged_file_makes_nothing_be_built_anew(workspace):
    give(workspace, "p,,10,,,,,")
    with workspace.builder() as builder:
        assert builder.build(TABLES["pack_economics"]).written == []
        assert builder.build(TABLES["data_issues"]).written == []


def test_what_is_wrong_with_the_file_is_an_issue_that_names_the_row_and_the_rest_goes_on(workspace):
    give(workspace, "p,,10,,,,,", "p,,$10,,,,,")
    (issue,) = lake_records(workspace, "FROM data_issues WHERE rule LIKE 'rejected_reference%'")
    assert (issue["rule"], issue["severity"], issue["source"]) == (
        "rejected_reference_row",
        "error",
        "reference/packs.csv row 3",
    )
    assert "use digits and a decimal point only" in issue["detail"] and issue["raw_value"] == "$10"
    assert lake_rows(workspace, "SELECT spend_usd FROM pack_economics") == [(Decimal(48),)]
    give(workspace, "x", header="nothing")
    (issue,) = lake_records(workspace, "FROM data_issues WHERE rule LIKE 'rejected_reference%'")
    assert (issue["rule"], issue["source"]) == ("rejected_reference_file", "reference/packs.csv")
    assert lake_rows(workspace, "SELECT spend_usd FROM pack_economics") == [(Decimal(8),)]


def test_a_folder_in_the_file_s_place_stops_no_run(workspace):
    workspace.data.packs_file.mkdir(parents=True)
    build_all(workspace)
    (issue,) = lake_records(workspace, "FROM data_issues WHERE rule = 'rejected_reference_file'")
    assert "make it a file that this user can read" in issue["detail"]


TIERS = ("p,,10,85,low,0,20,60", "p,,,,high,20,23,30", "p,,,,top,30,,10")


@pytest.mark.one_python
def test_hits_of_tiers_are_counted_by_implied_value_beside_the_published_odds(workspace):
    # At 85 %: 9 is 10.59, 8.5 is 10, 17 is 20, which is the higher tier's, and 20 is 23.53, which is in none.
    give(workspace, *TIERS)
    found = lake_rows(
        workspace,
        "SELECT tier, pull_count, hit_count, hit_rate, published_share, expected_hit_count, p_value "
        "FROM tier_hit_rates ORDER BY fmv_low_usd NULLS LAST",
    )
    near = pytest.approx
    assert found == [
        ("low", 3, 2, near(2 / 3), near(0.6), near(1.8), near(1)),
        ("high", 3, 1, near(1 / 3), near(0.3), near(0.9), near(1)),
        ("top", 3, 0, 0, near(0.1), near(0.3), near(1)),
        (None, 4, 1, 0.25, None, None, None),
    ]
    bounds = lake_rows(
        workspace, "SELECT bool_and(hit_rate BETWEEN hit_rate_low AND hit_rate_high) FROM tier_hit_rates"
    )
    assert bounds == [(True,)]


@pytest.mark.one_python
def test_a_bound_of_half_a_cent_is_taken_up_to_the_cent_so_that_no_pull_falls_between_tiers(api):
    # 85 % of 9.50 is 8.075, as a double 8.07499…: the bound is 8.08.
    prices = (8.07, 8.08, 0.43)
    api(Simulator(hold=0, scripts={"s": [Reply(200, answer("s", [{"id": "i", "buyback_price": p} for p in prices]))]}))
    workspace = Workspace.open()
    drop(workspace, "x.csv", "session_id,pack_id\ns,p\n")
    ask(workspace)
    give(workspace, "p,,,85,low,0.5,9.5,1", "p,,,,high,9.5,,1")
    found = lake_rows(workspace, "SELECT tier, hit_count FROM tier_hit_rates ORDER BY fmv_low_usd NULLS LAST")
    assert found == [("low", 2), ("high", 1), (None, 0)]
    # Half a cent for every cent from 0.01 on, and every percentage in common use, beside exact decimals.
    with duckdb.connect() as connection:
        connection.execute(macros())
        found = connection.execute(
            """
            SELECT fmv, share, quote_at(fmv::DECIMAL(18,4), share::DOUBLE) FROM (
                SELECT (i * 0.05)::DECIMAL(18,4) AS fmv, unnest([0.85, 0.9, 0.92, 0.925, 0.333333]) AS share
                FROM range(4000) AS r(i))
            """
        ).fetchall()
    for fmv, share, quote in found:
        assert quote == (fmv * share).quantize(Decimal("0.01"), ROUND_HALF_UP)


def pulled_on(api, quotes: dict[str, list[float]], rows_of_file: tuple[str, ...]) -> Workspace:
    """A pack `p` with so many sessions of one pull on each day."""
    ids = {f"{day}-{i}": (day, quote) for day, of_day in quotes.items() for i, quote in enumerate(of_day)}
    scripts = {s: [Reply(200, answer(s, [{"id": s, "buyback_price": quote}]))] for s, (_, quote) in ids.items()}
    api(Simulator(hold=0, scripts=scripts))
    workspace = Workspace.open()
    lines = "".join(f"{session},p,{day}\n" for session, (day, _) in ids.items())
    drop(workspace, "x.csv", "session_id,pack_id,initiated_at\n" + lines)
    ask(workspace)
    give(workspace, *rows_of_file)
    return workspace


@pytest.mark.one_python
def test_p_values_are_corrected_by_holm_over_all_tiers_of_all_packs(api):
    tiers = ("p,,,85,low,0,20,70", "p,,,,high,20,40,10", "p,,,,top,40,90,20", "q,,,85,any,0,,1")
    workspace = pulled_on(api, {"2026-01-01": [30.0] * 12 + [1.0] * 20 + [40.0] * 3}, tiers)
    found = lake_rows(
        workspace, "SELECT p_value, p_any_time, p_any_time_holm FROM tier_hit_rates WHERE tier IS NOT NULL ORDER BY 2"
    )
    counted = {stats.binomtest(hits, 35, p).pvalue for hits, p in ((12, 0.1), (20, 0.7), (3, 0.2))}
    assert sorted(row[0] for row in found if row[0] is not None) == pytest.approx(sorted(counted))
    any_time = np.array([row[1] for row in found if row[1] is not None])
    assert len(any_time) == 3 and any_time[0] < 0.05 < any_time[1]  # nobody bought the other pack
    assert all(one >= exact for exact, one, _ in found if one is not None)  # a look each day has its price
    expected = np.minimum(1, np.maximum.accumulate(any_time * [3, 2, 1]))
    assert [row[2] for row in found] == [*(pytest.approx(p) for p in expected), None]


@pytest.mark.one_python
def test_odds_hold_from_the_day_of_their_version_until_the_next_one(api):
    quotes = {"2026-01-01": [1.0], "2026-01-02": [1.0, 30.0], "2026-01-05": [30.0, 44.0], "2026-01-06": [44.0]}
    versions = (
        *("p,,,85,low,0,20,9,2026-01-02", "p,,,,high,20,,1,2026-01-02"),
        *("p,,,90,low,0,40,1,2026-01-05", "p,,,,high,40,,1,2026-01-05"),
    )
    workspace = pulled_on(api, quotes, versions)
    found = lake_rows(
        workspace,
        "SELECT valid_from::VARCHAR, tier, hit_count, published_share FROM tier_hit_rates WHERE tier IS NOT NULL "
        "ORDER BY valid_from, fmv_low_usd",
    )
    # At 90 % the second version's bound of 40 is a quote of 36. The first of January belongs to no version.
    assert found == [
        *(("2026-01-02", "low", 1, 0.9), ("2026-01-02", "high", 1, 0.1)),
        *(("2026-01-05", "low", 1, 0.5), ("2026-01-05", "high", 2, 0.5)),
    ]
    # What a quote is of market value changed, so that there is no one figure of it.
    assert lake_rows(workspace, "SELECT return_ratio_at_market_value FROM pack_economics") == []


@pytest.mark.one_python
def test_where_quotes_cluster_outside_of_the_tiers_nothing_is_tested_and_that_is_said(api):
    workspace = pulled_on(api, {"2026-01-01": [10.0] * 4 + [17.0] * 4}, ("p,,,85,low,20,40,9", "p,,,,high,40,,1"))
    found = lake_rows(
        workspace, "SELECT tier, hit_count, p_value, p_any_time, verdict FROM tier_hit_rates ORDER BY fmv_low_usd"
    )
    assert found == [
        ("low", 4, None, None, "not tested: many quotes lie outside all tiers"),
        ("high", 0, None, None, "not tested: many quotes lie outside all tiers"),
        (None, 4, None, None, "check buyback_percent and the bounds of the tiers"),
    ]


@pytest.mark.one_python
def test_odds_that_are_surely_not_as_published_are_told_in_words(api):
    workspace = pulled_on(
        api, {"2026-01-01": [30.0] * 40}, ("p,,,85,low,0,20,9", "p,,,,high,20,40,1", "p,,,,top,40,,0")
    )
    found = lake_rows(workspace, "SELECT tier, verdict FROM tier_hit_rates ORDER BY fmv_low_usd")
    words = (
        "less often than published",
        "more often than published",
        "no significant difference",
        "few quotes lie outside all tiers",
    )
    assert found == list(zip(("low", "high", "top", None), words, strict=True))


@pytest.mark.one_python
def test_without_a_buyback_percentage_published_shares_stand_alone_and_hits_are_null(workspace):
    give(workspace, "p,,10,,low,0,20,3", "p,,,,high,20,,1")
    found = lake_rows(
        workspace, "SELECT tier, published_share, pull_count, hit_count, hit_rate_low FROM tier_hit_rates"
    )
    assert found == [("low", 0.75, None, None, None), ("high", 0.25, None, None, None)]


def test_a_pack_with_a_refused_row_has_no_hit_rates_for_its_shares_would_be_wrong(workspace):
    for broken in ("p,,,,broken,x,,5", ",,,,nameless,40,,5"):
        give(workspace, *TIERS, broken)
        assert lake_rows(workspace, "FROM tier_hit_rates") == []
    assert lake_rows(workspace, "SELECT spend_usd FROM pack_economics") == [(Decimal(48),)]


def test_a_pack_that_nobody_bought_has_counts_of_zero_and_no_rates(workspace):
    give(workspace, "new,,10,85,low,0,20,0", "new,,,,high,20,,0")
    found = lake_rows(workspace, "SELECT pull_count, hit_count, hit_rate, published_share, p_value FROM tier_hit_rates")
    assert found == [(0, 0, None, None, None)] * 2


def test_the_past_is_shown_with_what_is_known_of_packs_today(workspace, tmp_path):
    give(workspace, *TIERS, "p,,x,,,,,")
    past = tmp_path / "past"
    workspace.rebuild_as_of(now(), past)
    copy = Workspace(workspace.settings, DataDirectory(past))
    for table in ("pack_economics", "tier_hit_rates", "data_issues"):
        assert lake_rows(copy, f"FROM {table}") == lake_rows(workspace, f"FROM {table}")
