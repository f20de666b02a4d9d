"""What became of the items: records of sellbacks, from the folder beside the inbox to the figures that rest on them."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from pipeline.clock import now
from pipeline.schema import TABLES
from pipeline.simulator.server import Reply, Simulator
from pipeline.sources.inbox import Inbox
from pipeline.sources.intake import take_in
from pipeline.sources.kinds import SELLBACKS
from pipeline.steps import Workspace
from pipeline.storage.connection import connect
from pipeline.transform.builder import Builder
from tests.support.answers import answer
from tests.support.derivation import derived
from tests.support.derivation import records as records_of
from tests.support.lake import lake_hashes
from tests.support.workspace import ask, build, build_all, lake_records, lake_rows, refresh
from tests.support.workspace import drop as drop_into_inbox

Row = dict[str, Any]
HEADER = "item_id,session_id,sold_at,amount_usd\n"


READ = [
    TABLES[name] for name in ("buyback_outstanding", "data_issues", "quote_accuracy", "sellback_shares", "sellbacks")
]


@pytest.fixture
def workspace(copy_of) -> Workspace:
    """Three sessions, pulled on three days; the item `again` comes in the first and in the last."""
    items = {
        "first": [{"id": "again", "buyback_price": 10}, {"id": "v1|1|0", "buyback_price": 4}],
        "second": [{"id": "b", "buyback_price": 20}, {"id": "bare"}],
        "third": [{"id": "again", "buyback_price": 12}, {"id": "kept", "buyback_price": 5}],
    }
    scripts = {name: [Reply(200, answer(name, nfts))] for name, nfts in items.items()}
    days = "first,2026-01-01T09:00:00Z\nsecond,2026-01-02T09:00:00Z\nthird,2026-01-05T09:00:00Z\n"

    def refreshed(workspace: Workspace) -> None:
        drop_into_inbox(workspace, "x.csv", f"session_id,initiated_at\n{days}")
        refresh(workspace)

    copied: Workspace = copy_of("refreshed", lambda: Simulator(hold=0, scripts=scripts), refreshed)
    return copied


def give(workspace: Workspace, name: str, content: str | bytes) -> None:
    """Puts a file into the folder, and brings what tests read up to date."""
    path = workspace.data.sellbacks / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    workspace.take_in_sellbacks()
    build(workspace, *READ)


def test_without_records_nothing_is_said_of_what_was_sold_back(workspace):
    assert not workspace.data.sellbacks.exists()
    assert workspace.take_in_sellbacks().lines == []
    for table in ("sellbacks", "quote_accuracy", "sellback_shares"):
        assert lake_rows(workspace, f"FROM {table}") == []
    columns = "sold_back_count, sold_back_quoted_usd, sold_back_usd, outstanding_usd, sellbacks_until"
    assert set(lake_rows(workspace, f"SELECT {columns} FROM buyback_outstanding")) == {(None,) * 5}
    assert lake_rows(workspace, "SELECT buyback_total_usd FROM buyback_outstanding WHERE window_days = 30") == [
        (Decimal(51),)
    ]


def test_records_turn_what_is_outstanding_into_a_figure(workspace):
    give(workspace, "a.csv", f"{HEADER}b,second,2026-01-03T10:00:00Z,18.5\nv1|1|0,,2026-01-01T12:00:00+02:00,4\n")
    (window,) = lake_records(workspace, "FROM buyback_outstanding WHERE window_days = 30")
    assert (window["sold_back_count"], window["sold_back_quoted_usd"], window["sold_back_usd"]) == (
        *(2, Decimal(24), Decimal("22.5")),
    )
    assert window["outstanding_usd"] == Decimal(27) == window["buyback_total_usd"] - 24
    assert window["sellbacks_until"] == datetime(2026, 1, 3, 10, tzinfo=UTC)
    assert lake_rows(
        workspace, "SELECT session_id, pull_number, sold_date, days_since_pull, amount_usd FROM sellbacks"
    ) == [
        ("first", 2, date(2026, 1, 1), 0, Decimal(4)),
        ("second", 1, date(2026, 1, 3), 1, Decimal("18.5")),
    ]


@pytest.mark.parametrize(
    ("session", "sold_at", "expected"),
    [
        ("", "2026-01-04T00:00:00Z", ["first"]),
        ("", "2026-01-05T09:00:00Z", ["third"]),
        ("", "2026-01-09", ["third"]),
        ("", "2025-12-31T00:00:00Z", ["first"]),  # the answer came late
        ("first", "2026-01-09", ["first"]),
        ("second", "2026-01-09", []),
    ],
)
def test_a_record_is_of_the_session_that_it_names_and_else_of_the_latest_pull_before_the_sale(
    session, sold_at, expected, workspace
):
    give(workspace, "a.csv", f"{HEADER}again,{session},{sold_at},9\n")
    assert lake_rows(workspace, "SELECT session_id FROM sellbacks") == [(name,) for name in expected]
    unknown = [] if expected else [("sellbacks/a.csv", "again")]
    assert lake_rows(workspace, "SELECT source, raw_value FROM data_issues WHERE rule = 'unknown_sellback'") == unknown


def test_a_pull_is_sold_back_once_and_a_record_that_says_otherwise_is_an_issue(workspace):
    give(workspace, "a.csv", f"{HEADER}b,second,2026-01-03T10:00:00Z,18\n")
    give(workspace, "b.csv", f"{HEADER}b,second,2026-01-03T10:00:00Z,18\nb,,2026-01-04T10:00:00Z,19\n")
    assert lake_rows(workspace, "SELECT amount_usd FROM sellbacks") == [(Decimal(18),)]
    issues = lake_rows(
        workspace, "SELECT session_id, pull_number, source FROM data_issues WHERE rule = 'conflicting_sellback'"
    )
    assert issues == [("second", 1, "sellbacks/b.csv row 3")]


BAD_ROWS = {
    ",second,2026-01-03,1": "item_id is empty",
    "b,second,,1": "sold_at is empty",
    "b,second,yesterday,1": "sold_at is not an ISO 8601 time",
    "b,second,2026-01-03,-1": "amount_usd is not in the range from 0 to below 10^11",
    "b,second,2026-01-03,ten": "amount_usd is not a number",
    "b,two words,2026-01-03,1": "session_id has white space or unprintable characters",
}


def test_a_bad_row_is_rejected_with_its_reason_and_never_stops_the_good_ones(workspace):
    workspace.data.sellbacks.mkdir()
    lines = "\n".join(["b,second,2026-01-03,18.00005", *BAD_ROWS, "kept,,2026-01-09,", "kept,,2026-01-09,", ""])
    (workspace.data.sellbacks / "sub").mkdir()
    (workspace.data.sellbacks / "sub" / "a.csv").write_text(HEADER + lines)
    (report,) = workspace.take_in_sellbacks().files
    assert (report.rows_read, report.accepted, report.duplicates, report.rejected) == (9, 2, 1, 6)
    build_all(workspace)
    assert lake_rows(workspace, "SELECT item_id, amount_usd FROM sellbacks ORDER BY 1") == [
        ("b", Decimal("18.0001")),
        ("kept", None),
    ]
    issues = lake_rows(
        workspace,
        "SELECT source, detail FROM data_issues WHERE rule = 'rejected_row' AND table_name = 'sellback_submissions' "
        "ORDER BY source",
    )
    assert issues == [(f"sellbacks/sub/a.csv row {n}", reason) for n, reason in enumerate(BAD_ROWS.values(), 3)]


def test_a_sale_at_a_time_that_cannot_be_is_a_finding_and_ends_no_record(workspace):
    later = now() + timedelta(days=3)
    possible = "v1|1|0,first,2026-01-01T10:00:00Z,4\nb,second,2026-01-03T10:00:00Z,18\n"
    give(workspace, "a.csv", f"{HEADER}{possible}kept,third,{later.isoformat()},5\nagain,first,2014-12-31,4\n")
    assert lake_rows(workspace, "SELECT item_id FROM sellbacks") == [("v1|1|0",), ("b",)]
    found = lake_rows(
        workspace,
        "SELECT source, field, table_name FROM data_issues WHERE rule = 'implausible_time' ORDER BY source",
    )
    assert found == [(f"sellbacks/a.csv row {n}", "sold_at", "sellbacks") for n in (4, 5)]
    (until,) = lake_rows(workspace, "SELECT DISTINCT sellbacks_until FROM buyback_outstanding")
    assert until == (datetime(2026, 1, 3, 10, tzinfo=UTC),)
    assert lake_rows(workspace, "SELECT max(days_since_pull) FROM sellback_shares") == [(1,)]


def test_a_sale_in_another_zone_s_time_counts_but_nothing_is_known_of_what_is_still_to_come(workspace):
    before = now()
    give(workspace, "a.csv", f"{HEADER}b,second,{(before + timedelta(hours=14)).isoformat()},18\n")
    assert lake_rows(workspace, "SELECT item_id FROM sellbacks") == [("b",)]
    ((until,),) = lake_rows(workspace, "SELECT DISTINCT sellbacks_until FROM buyback_outstanding")
    assert before <= until <= now()


def test_what_a_clock_that_was_ahead_read_ends_no_record_until_its_time_has_come(workspace):
    ahead = now() + timedelta(days=2)
    workspace.data.sellbacks.mkdir()
    (workspace.data.sellbacks / "a.csv").write_text(f"{HEADER}b,second,{(ahead - timedelta(hours=1)).isoformat()},18\n")
    with workspace.data.exclusive():
        take_in(workspace.data, lambda: ahead, Inbox(workspace.data, SELLBACKS))

    def until(moment: datetime) -> list[tuple[datetime | None]]:
        with workspace.data.exclusive(), Builder(workspace.data, moment, 0) as builder:
            builder.build_published()
        with connect(workspace.data) as connection:
            built = workspace.data.store.scan(TABLES["buyback_outstanding"])
            return connection.execute(f"SELECT DISTINCT sellbacks_until FROM {built}").fetchall()

    assert until(now()) == [(None,)]
    assert until(ahead + timedelta(days=1)) == [(ahead - timedelta(hours=1),)]


def test_a_rejection_of_a_record_names_every_fault_and_the_columns(workspace):
    give(workspace, "a.csv", f"{HEADER},two words,soon,ten\nx,first,,\n")
    found = lake_rows(
        workspace,
        "SELECT session_id, field, detail, raw_value FROM data_issues WHERE rule = 'rejected_row' ORDER BY source",
    )
    assert found == [
        (
            None,
            "item_id, session_id, sold_at, amount_usd",
            "item_id is empty; session_id has white space or unprintable characters; sold_at is not an ISO 8601 time; "
            "amount_usd is not a number",
            "two words, soon, ten",
        ),
        ("first", "sold_at", "sold_at is empty", None),
    ]


def test_files_are_read_once_in_each_format_and_a_list_of_ids_is_rejected_whole(workspace):
    at = datetime(2026, 1, 3, tzinfo=UTC)
    pq.write_table(pa.table({"item_id": ["b"], "sold_at": [at], "odd": [1]}), workspace.data.root / "a.parquet")
    give(workspace, "a.parquet", (workspace.data.root / "a.parquet").read_bytes())
    give(workspace, "b.jsonl", '{"item_id": "kept", "sold_at": "2026-01-09T00:00:00Z", "amount_usd": "4.5"}\n')
    give(workspace, "c.txt", "bare\n")
    assert lake_rows(workspace, "SELECT item_id FROM sellbacks ORDER BY 1") == [("b",), ("kept",)]
    assert lake_rows(workspace, "SELECT source FROM data_issues WHERE rule = 'rejected_file'") == [("sellbacks/c.txt",)]
    assert Inbox(workspace.data, SELLBACKS).new_files() == []
    build_all(workspace)
    before = lake_hashes(workspace)
    (workspace.data.sellbacks / "copy.parquet").write_bytes((workspace.data.sellbacks / "a.parquet").read_bytes())
    assert workspace.take_in_sellbacks().already_known == ["copy.parquet"]
    build_all(workspace)
    assert lake_hashes(workspace) == before
    workspace.rebuild()
    assert lake_hashes(workspace) == before


def test_a_sale_that_is_known_before_its_pull_finds_it_when_the_answer_comes(api):
    api(Simulator(hold=0, scripts={"s": [Reply(200, answer("s", [{"id": "a", "buyback_price": 3}]))]}))
    workspace = Workspace.open()
    give(workspace, "a.csv", f"{HEADER}a,s,2026-01-03,3\n")
    assert lake_rows(workspace, "FROM sellbacks") == []
    drop_into_inbox(workspace, "x.txt", "s\n")
    ask(workspace)
    build_all(workspace)
    assert lake_rows(workspace, "SELECT session_id, amount_usd FROM sellbacks") == [("s", Decimal(3))]
    assert lake_rows(workspace, "FROM data_issues WHERE rule = 'unknown_sellback'") == []


def test_a_rebuild_as_of_the_past_knows_the_records_of_then(workspace, tmp_path):
    give(workspace, "a.csv", f"{HEADER}b,second,2026-01-03,18\n")
    then = now()
    give(workspace, "b.csv", f"{HEADER}kept,third,2026-01-06,5\n")
    workspace.rebuild_as_of(then, tmp_path / "past")
    with duckdb.connect(tmp_path / "past" / "phygitals.duckdb", read_only=True) as past:
        assert past.execute("SELECT item_id FROM sellbacks").fetchall() == [("b",)]
    assert lake_rows(workspace, "SELECT count(*) FROM sellbacks") == [(2,)]


def sold(chance: random.Random, days: int, shifts: float) -> list[Row]:
    """Sales over so many days; those of one day are alike, as far as `shifts` says."""
    found = []
    for day in range(days):
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
        shift = chance.gauss(1, shifts)
        for n in range(chance.randint(1, 12)):
            quote = Decimal(str(round(chance.lognormvariate(2, 1), 2)))
            amount = quote if chance.random() < 0.3 else Decimal(str(round(float(quote) * shift, 2)))
            found.append(
                {
                    "session_id": f"s{day}-{n}",
                    "item_type": chance.choice(["enft", "ebay"]),
                    "sold_date": at.date(),
                    "quote_age_seconds": chance.choice([0, 3599, 3600, 86400, 604800, 1e9]),
                    "buyback_price_usd": chance.choice([quote, quote, quote, None]),
                    "amount_usd": chance.choice([amount, amount, amount, None]),
                }
            )
    return found


BANDS = {
    0: "under 1 hour",
    3600: "1 to 24 hours",
    86400: "1 to 7 days",
    604800: "7 to 30 days",
    2592000: "over 30 days",
}


@pytest.mark.parametrize(("days", "shifts"), [(60, 0.1), (40, 0), (12, 0.3), (9, 0.1), (1, 0.1), (0, 0)])
def test_what_was_paid_for_quotes_and_its_interval_are_those_of_scipy(days, shifts):
    sales = sold(random.Random(days), days, shifts)  # noqa: S311
    found = records_of(derived({"sellbacks": sales}, "quote_accuracy"), "FROM quote_accuracy")
    groups: dict[tuple[str, str], list[Row]] = {}
    for sale in sales:
        if sale["buyback_price_usd"] is not None and sale["amount_usd"] is not None:
            band = max(start for start in BANDS if start <= sale["quote_age_seconds"])
            groups.setdefault((BANDS[band], sale["item_type"]), []).append(sale)
    assert {(row["age_band"], row["item_type"]) for row in found} == set(groups) and len(found) == len(groups)
    for row in found:
        own = groups[row["age_band"], row["item_type"]]
        by_day = sorted({sale["sold_date"] for sale in own})
        paid, quoted = (
            np.array([float(sum(s[name] for s in own if s["sold_date"] == day)) for day in by_day])
            for name in ("amount_usd", "buyback_price_usd")
        )
        n, ratio = len(by_day), paid.sum() / quoted.sum()
        assert (row["sold_count"], row["day_count"]) == (len(own), n)
        assert row["realised_ratio"] == pytest.approx(ratio)
        assert row["at_quote_share"] == np.mean([s["amount_usd"] == s["buyback_price_usd"] for s in own])
        if n < 10:
            assert (row["realised_ratio_low"], row["realised_ratio_high"]) == (None, None)
        else:
            error = np.sqrt(((paid - ratio * quoted) ** 2).sum() * n / (n - 1)) / quoted.sum()
            half = stats.t.ppf(0.975, n - 1) * error
            bounds = (row["realised_ratio_low"], row["realised_ratio_high"])
            assert bounds == pytest.approx((ratio - half, ratio + half), rel=2e-4)


@pytest.mark.parametrize(("seed", "days", "share"), [(1, 40, 0.7), (2, 10, 1.0), (3, 1, 0.5), (4, 25, 0.05), (5, 3, 0)])
def test_the_share_sold_back_is_kaplan_and_meier_s(seed, days, share):
    chance = random.Random(seed)  # noqa: S311
    start = date(2026, 1, 1)
    sales: list[Row] = []
    pulled: list[tuple[date, int | None]] = []
    for day in range(-3, days):
        for n in range(chance.randint(1, 30)):
            at = start + timedelta(days=day)
            wait = int(chance.expovariate(0.3)) if chance.random() < share else None
            wait = wait if wait is None or (day >= 0 and day + wait < days) else None
            pulled.append((at, wait))
            if wait is not None:
                sales.append(
                    {
                        "session_id": f"s{day}-{n}",
                        "pulled_date": at,
                        "sold_date": at + timedelta(days=wait),
                        "days_since_pull": wait,
                    }
                )
    quotes = [{"pulled_date": at, "pull_count": 1, "item_type": "enft"} for at, _ in pulled]
    found = records_of(
        derived({"sellbacks": sales, "daily_quote_counts": quotes}, "sellback_shares"), "FROM sellback_shares"
    )
    if not sales:
        assert found == []
        return
    first, last = (pick(sale["sold_date"] for sale in sales) for pick in (min, max))
    followed = [
        (wait if wait is not None else (last - at).days, wait is not None) for at, wait in pulled if first <= at <= last
    ]
    times, sold_then = (np.array(column) for column in zip(*followed, strict=True))
    curve = stats.ecdf(stats.CensoredData.right_censored(times, ~sold_then)).cdf
    assert [row["days_since_pull"] for row in found] == list(range(max(sale["days_since_pull"] for sale in sales) + 1))
    for row in found:
        days_since = row["days_since_pull"]
        assert row["sold_count"] == int((sold_then & (times == days_since)).sum())
        assert row["at_risk_count"] == int((times >= days_since).sum())
        assert row["sold_share"] == pytest.approx(float(curve.evaluate(days_since)), abs=1e-9)
