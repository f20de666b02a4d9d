"""Each figure of the marts, beside what pandas, numpy and scipy make of the published purchases and pulls."""

from __future__ import annotations

import random
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipeline.simulator.server import FAILED, Reply, Simulator
from pipeline.steps import Workspace
from tests.support.answers import answer
from tests.support.intervals import clustered_wilson
from tests.support.workspace import drop, refresh

pytestmark = pytest.mark.one_python

SESSIONS = 80
PRICES = {"gold": 50.0, "plain": 8.5, "free": 0.0, "": None}  # USD by pack; the last is no pack and no price
TYPES = ("enft", "ebay", "alt", None)
Row = dict[str, Any]


def an_item(chance: random.Random, price: float) -> Row:
    """One of few, so that some come again; one in six has no quote, one in three no mint address."""
    number = chance.randrange(90)
    quote = round(price * chance.lognormvariate(-0.4, 1.4), 2) if number % 6 else None
    chain = {"mint_address": f"mint{number}"} if number % 3 else {}
    return {"id": f"mint{number}", "type": TYPES[number % 4], "buyback_price": quote, **chain}


@pytest.fixture
def published(copy_of) -> Workspace:
    """Sessions of four days, packs and prices of several kinds, every ninth of them failed."""
    chance = random.Random(7)  # noqa: S311
    scripts, lines = {}, ["session_id,initiated_at,pack_id,price_usd\n"]
    for i in range(SESSIONS):
        pack = chance.choice(list(PRICES))
        items = [an_item(chance, PRICES[pack] or 10) for _ in range(chance.randint(1, 4))]
        scripts[f"s{i}"] = [FAILED] if i % 9 == 0 else [Reply(200, answer(f"s{i}", items))]
        price = "" if PRICES[pack] is None else PRICES[pack]
        lines.append(f"s{i},2026-01-0{1 + i % 4}T0{i % 10}:00:00Z,{pack},{price}\n")

    def build(workspace: Workspace) -> None:
        drop(workspace, "x.csv", "".join(lines))
        refresh(workspace)

    published: Workspace = copy_of("published", lambda: Simulator(hold=0, scripts=scripts), build)
    return published


def frame(workspace: Workspace, table: str) -> pd.DataFrame:
    """A table with decimals as floats, and `unknown` for items of no type, as marts call them."""
    with duckdb.connect(workspace.data.warehouse, read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = connection.execute(f"FROM {table}").to_arrow_table()
    found: pd.DataFrame = rows.to_pandas()
    found = found.astype({field.name: float for field in rows.schema if pa.types.is_decimal(field.type)})
    if table == "pulls":
        found["item_type"] = found["item_type"].fillna("unknown")
        found["pulled_date"] = found["pulled_at"].dt.date
    return found


def assert_same(found: pd.DataFrame, key: list[str], expected: list[Row]) -> None:
    """The columns that are expected, row by row; money to its fourth place."""
    assert expected
    columns = list(expected[0])
    want = pd.DataFrame(expected, columns=columns).sort_values(key, na_position="first").reset_index(drop=True)
    got = found[columns].sort_values(key, na_position="first").reset_index(drop=True)
    pd.testing.assert_frame_equal(got, want, check_dtype=False, atol=6e-5, rtol=1e-9)


def count_to_half(quotes: pd.Series) -> float:
    dearest = quotes.sort_values(ascending=False)
    return float(((dearest.cumsum() - dearest) * 2 < dearest.sum()).sum()) if quotes.sum() > 0 else np.nan


def share_of_dearest(quotes: pd.Series, count: int) -> float:
    return quotes.nlargest(count).sum() / quotes.sum() if quotes.sum() > 0 else np.nan


def counts(pulls: pd.DataFrame) -> Row:
    return {"pull_count": len(pulls), "priced_pull_count": pulls.buyback_price_usd.count()}


def values(quotes: pd.Series, percentiles: tuple[int, ...]) -> Row:
    quoted = quotes.dropna()
    found = {f"buyback_p{p}_usd": np.percentile(quoted, p) if len(quoted) else np.nan for p in percentiles}
    return found | {
        "buyback_total_usd": quoted.sum() if len(quoted) else np.nan,
        "buyback_mean_usd": quoted.mean(),
        "buyback_median_usd": quoted.median(),
        "buyback_max_usd": quoted.max(),
    }


def test_the_figures_of_item_types_are_those_of_their_pulls(published):
    pulls = frame(published, "pulls")
    price = pulls.session_price_usd.where(pulls.session_price_usd > 0) / pulls.groupby(
        "session_id"
    ).session_id.transform("size")
    multiples = pulls.buyback_price_usd / price
    expected = []
    for item_type, of_type in pulls.groupby("item_type"):
        quotes = of_type.buyback_price_usd.dropna()
        expected.append(
            {"item_type": item_type, **counts(of_type), **values(quotes, (5, 25, 75, 95, 99))}
            | {
                "pull_share": len(of_type) / len(pulls),
                "item_count": of_type.item_id.nunique(),
                "on_chain_share": of_type.is_on_chain.mean(),
                "buyback_min_usd": quotes.min(),
                "top_1_percent_share": share_of_dearest(quotes, int(np.ceil(len(quotes) / 100))),
                "half_of_total_pull_count": count_to_half(quotes),
                "multiple_median": multiples[of_type.index].median(),
            }
        )
    assert len(expected) == len(TYPES)
    assert_same(frame(published, "item_types"), ["item_type"], expected)


def test_the_figures_of_buyback_values_are_those_of_the_pulls_of_a_day_pack_and_type(published):
    key = ["pulled_date", "pack_id", "item_type"]
    every = frame(published, "pulls")
    every["per_pull"] = every.session_price_usd / every.groupby("session_id").session_id.transform("size")
    expected: list[Row] = []
    for group, pulls in every.groupby(key, dropna=False):
        paid = pulls[pulls.buyback_price_usd.notna() & (pulls.session_price_usd > 0)]
        spent = {
            "paid_pull_count": len(paid),
            "spend_usd": paid.per_pull.sum(min_count=1),
            "spend_buyback_usd": paid.buyback_price_usd.sum(min_count=1),
        }
        figures = values(pulls.buyback_price_usd, (25, 75, 95))
        expected.append(dict(zip(key, group, strict=True)) | counts(pulls) | figures | spent)
    assert any(row["paid_pull_count"] < row["priced_pull_count"] for row in expected)
    assert any(row["priced_pull_count"] == 0 for row in expected)
    assert any(pd.isna(row["pack_id"]) for row in expected)
    assert_same(frame(published, "buyback_values"), key, expected)


def test_the_mix_of_types_is_that_of_the_day_s_pulls(published):
    expected = []
    for day, pulls in frame(published, "pulls").groupby("pulled_date"):
        for item_type, of_type in pulls.groupby("item_type"):
            total = of_type.buyback_price_usd.sum(min_count=1)
            expected.append(
                {"pulled_date": day, "item_type": item_type, **counts(of_type), "buyback_total_usd": total}
                | {
                    "pull_share": len(of_type) / len(pulls),
                    "buyback_share": total / pulls.buyback_price_usd.sum(),
                    "off_chain_share": 1 - of_type.is_on_chain.mean(),
                }
            )
    assert_same(frame(published, "daily_type_mix"), ["pulled_date", "item_type"], expected)


def test_the_figures_of_packs_are_those_of_their_purchases_and_pulls(published):
    purchases, pulls = frame(published, "purchases"), frame(published, "pulls")
    priced = purchases[purchases.price_usd.notna() & purchases.pack_id.notna()]
    expected = []
    for pack, of_pack in priced.groupby("pack_id"):
        fulfilled = of_pack[of_pack.status == "fulfilled"]
        own = pulls[pulls.session_id.isin(fulfilled.session_id)]
        free = own[own.session_price_usd == 0]
        quoted = own[own.buyback_price_usd.notna() & (own.session_price_usd > 0)]
        in_session = own.groupby("session_id").session_id.transform("size")[quoted.index]
        multiples = quoted.buyback_price_usd * in_session / quoted.session_price_usd
        wins = int((quoted.buyback_price_usd * in_session >= quoted.session_price_usd).sum())
        won = (quoted.buyback_price_usd * in_session >= quoted.session_price_usd).groupby(quoted.session_id)
        low, high = clustered_wilson(won.sum().to_numpy(), won.size().to_numpy()) if len(quoted) else (np.nan,) * 2
        spend = (quoted.session_price_usd / in_session).sum(min_count=1)
        total = quoted.buyback_price_usd.sum(min_count=1)
        bands, _ = np.histogram(multiples, [0, 0.5, 1, 2, 5, 20, np.inf])
        names = ("below_0_5", "0_5_to_1", "1_to_2", "2_to_5", "5_to_20", "20_and_above")
        expected.append(
            {
                "pack_id": pack,
                "purchase_count": len(of_pack),
                "fulfilled_count": len(fulfilled),
                "pull_count": len(own),
                "spend_usd": spend,
                "buyback_total_usd": total,
                "return_ratio": total / spend,
                "unquoted_pull_count": len(own) - len(free) - len(quoted),
                "unquoted_spend_usd": fulfilled.price_usd.sum() - np.nan_to_num(spend),
                "unpriced_count": 0,
                "free_count": int((fulfilled.price_usd == 0).sum()),
                "free_pull_count": len(free),
                "free_buyback_total_usd": free.buyback_price_usd.sum(min_count=1),
                "win_rate": wins / len(quoted) if len(quoted) else np.nan,
                "win_rate_low": low,
                "win_rate_high": high,
                "multiple_median": multiples.median(),
                "multiple_mean": multiples.mean(),
                "multiple_mean_capped_5x": multiples.clip(upper=5).mean(),
                "quoted_pull_count": len(quoted),
                "half_of_total_pull_count": count_to_half(quoted.buyback_price_usd),
                "top_10_share": share_of_dearest(quoted.buyback_price_usd, 10),
                **{f"multiple_{name}_count": band for name, band in zip(names, bands, strict=True)},
                "reference_price_count": 0,
            }
        )
    assert {row["pack_id"] for row in expected} == {pack for pack in PRICES if pack}
    assert all(sum(row[f"multiple_{name}_count"] for row in expected) > 0 for name in names)
    assert_same(frame(published, "pack_economics"), ["pack_id"], expected)


def test_the_rate_of_failures_is_that_of_the_sessions_that_were_settled(published):
    by_status = frame(published, "purchases").status.value_counts()
    failed, settled = int(by_status["failed"]), int(by_status["failed"] + by_status["fulfilled"])
    # Only answers name users here, and failed sessions have none: each session is one of the sample.
    finals = frame(published, "purchases").query("status in ('failed', 'fulfilled')")
    low, high = clustered_wilson((finals.status == "failed").to_numpy(), np.ones(settled))
    funnel = frame(published, "resolution_funnel")
    assert funnel[["submitted", "failed", "fulfilled"]].sum().tolist() == [SESSIONS, failed, settled - failed]
    assert funnel[["failed_rate", "failed_rate_low", "failed_rate_high"]].iloc[0].tolist() == pytest.approx(
        [failed / settled, low, high]
    )


def test_the_figures_of_items_are_those_of_their_pulls(published):
    order = ["pulled_at", "resolved_at", "session_id", "pull_number"]
    expected = [
        {
            "item_id": item,
            "pull_count": len(pulls),
            "first_pulled_at": pulls.pulled_at.min(),
            "last_pulled_at": pulls.pulled_at.max(),
            "latest_buyback_price_usd": pulls.buyback_price_usd.iloc[-1],
            "min_buyback_price_usd": pulls.buyback_price_usd.min(),
            "max_buyback_price_usd": pulls.buyback_price_usd.max(),
        }
        for item, pulls in frame(published, "pulls").sort_values(order).groupby("item_id")
    ]
    assert any(row["pull_count"] > 2 for row in expected)
    assert_same(frame(published, "items"), ["item_id"], expected)
