"""Packs by week, users and sets of cards, beside what numpy makes of the pulls, on random and on adversarial data."""

from __future__ import annotations

import math
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import stats

from tests.support.derivation import derived, records
from tests.support.intervals import clustered_wilson

pytestmark = pytest.mark.one_python

Row = dict[str, Any]
START = datetime(2025, 12, 27, 22, tzinfo=UTC)
USERS = ("user_days", "user_periods", "user_daily_quote_counts", "user_period_quote_counts", "users")
WEEKS = ("part_quote_counts", "daily_quote_counts", "pack_week_periods", "pack_weeks")


def history(
    seed: int,
    users: int,
    sessions: int,
    alike: float = 0,
    prices: tuple[Any, ...] = (None, 0, 10, 33.33),
    luck: float = 1,
    worth: float | None = None,
) -> Row:
    """Purchases and their pulls over five weeks.

    A session's quotes are alike with the probability `alike`. Those of every second user are `luck` times as high.
    `worth` is the value of all quotes instead of random ones.
    """
    chance = random.Random(seed)  # noqa: S311
    purchases: list[Row] = []
    pulls: list[Row] = []
    for i in range(sessions):
        at = START + timedelta(hours=chance.randrange(5 * 7 * 24))
        user = chance.choice([None, *(f"u{n}" for n in range(users))])
        price, count = chance.choice(prices), chance.randint(1, 6)
        price = price if price is None else Decimal(str(price))
        status = chance.choice(["fulfilled"] * 4 + ["failed", "pending"])
        purchase = {"session_id": f"s{i}", "user_id": user, "status": status, "submitted_at": at + timedelta(hours=1)}
        purchases.append(purchase | {"initiated_at": chance.choice([at, None])})
        first = chance.lognormvariate(1, 1.5)
        for n in range(count if status == "fulfilled" else 0):
            quote = first if chance.random() < alike else chance.lognormvariate(1, 1.5)
            quote *= luck if user and int(user[1:]) % 2 else 1
            quote = quote if worth is None else worth
            quoted = chance.random() < 0.9
            multiple = round(quote, 2) * count / float(price) if quoted and price else None
            pulls.append(
                {
                    "session_id": f"s{i}",
                    "pull_number": n + 1,
                    "user_id": user,
                    "pack_id": chance.choice("pq") if not n else pulls[-1]["pack_id"],
                    "buyback_price_usd": Decimal(str(round(quote, 2))) if quoted else None,
                    "session_price_usd": price,
                    "multiple": multiple,
                    "pulled_date": at.date(),
                    "is_on_chain": False,
                }
            )
    return {"purchases": purchases, "pulls": pulls}


class Session(NamedTuple):
    """What the quoted pulls of a session cost, their quotes, and their multiples, each at most 5."""

    spend: float
    quoted: float
    capped: np.ndarray


def of_sessions(pulls: list[Row]) -> list[Session]:
    """Sessions with a price above 0 and a quote."""
    found = []
    for session in sorted({pull["session_id"] for pull in pulls}):
        own = [pull for pull in pulls if pull["session_id"] == session]
        quotes = np.array([float(pull["buyback_price_usd"]) for pull in own if pull["buyback_price_usd"] is not None])
        price = float(own[0]["session_price_usd"] or 0)
        if price and len(quotes):
            multiples = np.minimum(quotes * len(own) / price, 5)
            found.append(Session(price * len(quotes) / len(own), quotes.sum(), multiples))
    return found


def shrunk(by_user: dict[str, list[Session]]) -> dict[str, float | None]:
    """The shrunk return ratio of each user, from every pair of sessions."""
    everyone = [session for sessions in by_user.values() for session in sessions]
    mean = np.concatenate([session.capped for session in everyone]).mean()
    ratio = sum(session.quoted for session in everyone) / sum(session.spend for session in everyone)
    deviations = {user: [(s.capped - mean).sum() for s in sessions] for user, sessions in by_user.items()}
    products = sum(a * b for d in deviations.values() for a, b in permutations(d, 2))
    pairs = sum(len(a.capped) * len(b.capped) for sessions in by_user.values() for a, b in permutations(sessions, 2))
    if not pairs:
        return dict.fromkeys(by_user)
    chance = sum(2 * np.square(d).sum() ** 2 * (1 - 1 / len(d)) for d in deviations.values())
    tau = max(0, products - stats.norm.ppf(0.95) * math.sqrt(chance)) / pairs
    squares = sum(np.square(d).sum() for d in deviations.values())
    phi = max(0, squares - tau * sum(len(s.capped) ** 2 for s in everyone)) / sum(len(s.capped) for s in everyone)
    found: dict[str, float | None] = {}
    for user, sessions in by_user.items():
        own = np.concatenate([session.capped for session in sessions])
        trust = tau * len(own) / (tau * len(own) + phi) if tau else 0
        found[user] = ratio * (1 + trust * (own.mean() - mean) / mean) if mean else ratio
    return found


CASES = {
    "random": history(1, 8, 200),
    "alike pulls": history(2, 5, 150, alike=0.9),
    "one session a user": history(3, 500, 12),
    "one user": history(4, 1, 30),
    "one session": history(5, 1, 1),
    "free alone": history(6, 4, 40, prices=(0,)),
    "changing prices": history(7, 6, 150, prices=(1, 7, 0.01, 1000)),
    "users who differ": history(8, 12, 150, luck=6),
    "alike pulls of users who differ": history(9, 6, 200, alike=0.9, luck=6),
    "two users who differ": history(10, 2, 80, luck=6),
    "one user with quotes": history(11, 1, 30),
    "every pull a jackpot": history(12, 8, 60, worth=1000),
    "all worth nothing": history(13, 8, 60, worth=0),
    "nothing": {"purchases": [], "pulls": []},
}
for row in CASES["one user"]["pulls"]:
    row["buyback_price_usd"] = row["multiple"] = None  # all NULL
USERS_DIFFER = {"users who differ", "alike pulls of users who differ", "two users who differ"}


@pytest.mark.parametrize("case", CASES)
def test_users_are_what_numpy_makes_of_their_sessions(case):
    given = CASES[case]
    connection = derived(given, *USERS)
    found = records(connection, "FROM users ORDER BY user_id")
    names = sorted({row["user_id"] for row in given["purchases"]} - {None})
    assert [row["user_id"] for row in found] == names
    own_pulls = {user: [pull for pull in given["pulls"] if pull["user_id"] == user] for user in names}
    sessions = {user: of_sessions(pulls) for user, pulls in own_pulls.items()}
    expected = shrunk({user: own for user, own in sessions.items() if own}) if any(sessions.values()) else {}
    assert (len({row["return_ratio_shrunk"] for row in found} - {None}) > 1) == (case in USERS_DIFFER)
    for row in found:
        user = row["user_id"]
        purchases = [p for p in given["purchases"] if p["user_id"] == user]
        times = [p["initiated_at"] or p["submitted_at"] for p in purchases]
        fulfilled = sum(p["status"] == "fulfilled" for p in purchases)
        assert (row["purchase_count"], row["fulfilled_count"]) == (len(purchases), fulfilled)
        assert row["pull_count"] == len(own_pulls[user])
        assert (row["first_purchased_at"], row["last_purchased_at"]) == (min(times), max(times))
        assert (row["first_purchased_date"], row["last_purchased_date"]) == (min(times).date(), max(times).date())
        if not sessions[user]:
            assert [row[name] for name in ("spend_usd", "return_ratio", "return_ratio_shrunk")] == [None] * 3
        else:
            spend, quoted = (sum(session[i] for session in sessions[user]) for i in (0, 1))
            assert float(row["spend_usd"]) == pytest.approx(spend, abs=1e-4 * len(purchases))
            assert float(row["buyback_total_usd"]) == pytest.approx(quoted, abs=1e-6)
            assert row["return_ratio"] == pytest.approx(quoted / spend, rel=1e-4)
            # Prices are rounded to four places, so the ratio of all users differs a little.
            assert row["return_ratio_shrunk"] == (expected[user] and pytest.approx(expected[user], rel=2e-3))


def test_a_user_bought_when_it_was_submitted_where_the_time_given_cannot_be():
    times = {"a": datetime(2099, 1, 1, tzinfo=UTC), "b": datetime(1970, 1, 1, tzinfo=UTC)}
    bought = [
        {"session_id": name, "user_id": "u", "status": "pending", "submitted_at": START, "initiated_at": at}
        for name, at in times.items()
    ]
    found = derived({"purchases": bought}, "user_days").execute(
        "SELECT first_purchased_at, last_purchased_at FROM user_days"
    )
    assert found.fetchall() == [(START, START)]


def test_a_user_who_bought_once_is_drawn_further_to_the_mean_than_one_who_bought_often():
    pulls, purchases = [], []
    for user, returns in {"lucky": [50], "steady": [20, 18, 22, 19, 21] * 8, "poor": [4, 6, 5] * 10}.items():
        for i, quote in enumerate(returns):
            session = {"session_id": f"{user}{i}", "user_id": user}
            purchases.append(session | {"status": "fulfilled", "submitted_at": START})
            pulls.append(session | {"buyback_price_usd": quote, "session_price_usd": 10, "multiple": quote / 10})
    connection = derived({"purchases": purchases, "pulls": pulls}, *USERS)
    found = {row["user_id"]: row for row in records(connection, "FROM users")}
    moved = {user: abs(row["return_ratio_shrunk"] / row["return_ratio"] - 1) for user, row in found.items()}
    assert found["lucky"]["return_ratio"] == 5 > found["lucky"]["return_ratio_shrunk"]
    assert moved["lucky"] > 3 * moved["steady"]


@pytest.mark.parametrize("case", CASES)
def test_weeks_of_packs_are_what_numpy_makes_of_their_pulls(case):
    given = CASES[case]
    ends = datetime(2026, 1, 12, tzinfo=UTC)
    days = [{"submitted_date": ends.date(), "latest_at": ends}]
    sources = {"pulls": given["pulls"], "submission_days": days}
    found = records(derived(sources, *WEEKS), "FROM pack_weeks")
    priced = [pull for pull in given["pulls"] if pull["session_price_usd"] is not None]
    counts = {pull["session_id"]: 0 for pull in priced}
    for pull in priced:
        counts[pull["session_id"]] += 1
    groups: dict[tuple[str, date], list[Row]] = {}
    for pull in priced:
        monday = pull["pulled_date"] - timedelta(days=pull["pulled_date"].weekday())
        groups.setdefault((pull["pack_id"], monday), []).append(pull)
    assert [(row["pack_id"], row["week_start_date"]) for row in found] == sorted(groups)
    for row in found:
        pulls = groups[row["pack_id"], row["week_start_date"]]
        base = [pull for pull in pulls if pull["multiple"] is not None]
        multiples = np.array([pull["multiple"] for pull in base])
        spend = sum(float(pull["session_price_usd"]) / counts[pull["session_id"]] for pull in base)
        assert row["iso_week"] == "{}-W{:02}".format(*row["week_start_date"].isocalendar()[:2])
        assert row["is_complete"] == (row["week_start_date"] + timedelta(days=7) <= ends.date())
        assert (row["pull_count"], row["quoted_pull_count"]) == (len(pulls), len(base))
        assert row["free_pull_count"] == sum(pull["session_price_usd"] == 0 for pull in pulls)
        assert row["quoted_session_count"] == len({pull["session_id"] for pull in base})
        if base:
            quoted = sum(float(pull["buyback_price_usd"]) for pull in base)
            assert float(row["spend_usd"]) == pytest.approx(spend, abs=1e-4 * len(base))
            assert float(row["buyback_total_usd"]) == pytest.approx(quoted)
            assert row["return_ratio"] == pytest.approx(quoted / spend, rel=2e-3)
            assert row["win_rate"] == pytest.approx((multiples >= 1).mean())
            wins: dict[str, list[bool]] = {}
            for pull in base:
                wins.setdefault(pull["session_id"], []).append(pull["multiple"] >= 1)
            low, high = clustered_wilson(
                np.array([sum(w) for w in wins.values()]), np.array([len(w) for w in wins.values()])
            )
            # The point of Student's t is a series in 1/df.
            exactness = 1e-4 if len(wins) >= 20 else 5e-3 if len(wins) >= 5 else 2e-2
            assert (row["win_rate_low"], row["win_rate_high"]) == pytest.approx((low, high), abs=exactness)
            assert row["multiple_median"] == pytest.approx(np.median(multiples))
            assert row["multiple_mean_capped_5x"] == pytest.approx(np.minimum(multiples, 5).mean())
        else:
            assert [
                row[name] for name in ("spend_usd", "return_ratio", "win_rate", "win_rate_low", "win_rate_high")
            ] == [None] * 5


def test_sets_are_what_numpy_makes_of_their_items():
    chance = random.Random(9)  # noqa: S311
    items = [
        {
            "item_id": f"i{i}",
            "category": chance.choice(["Pokemon", None]),
            "set_name": chance.choice(["Base", "Fossil", None]),
            "year_number": chance.choice([1999, None]),
            "grade_number": chance.choice([9, 10, None]),
            "grade_label": chance.choice(["PRISTINE", None]),
            "pull_count": chance.randint(1, 9),
            "latest_buyback_price_usd": chance.choice([None, chance.randrange(1, 500)]),
            "max_buyback_price_usd": chance.choice([None, chance.randrange(500, 900)]),
            "insured_value_usd": chance.choice([None, 0, chance.randrange(1, 500)]),
        }
        for i in range(400)
    ]
    key = ("category", "set_name", "year_number", "grade_number", "grade_label")
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for item in items:
        groups.setdefault(tuple(item[name] for name in key), []).append(item)
    del groups[None, None, None, None, None]
    found = records(derived({"items": items}, "set_values"), "FROM set_values")
    assert {tuple(row[name] for name in key) for row in found} == set(groups) and len(found) == len(groups) > 40
    for row in found:
        own = groups[tuple(row[name] for name in key)]
        quotes = [item["latest_buyback_price_usd"] for item in own if item["latest_buyback_price_usd"] is not None]
        both = [i for i in own if i["latest_buyback_price_usd"] is not None and i["insured_value_usd"]]
        assert (row["item_count"], row["priced_item_count"], row["insured_item_count"]) == (
            *(len(own), len(quotes), len(both)),
        )
        assert row["pull_count"] == sum(item["pull_count"] for item in own)
        tops = [item["max_buyback_price_usd"] for item in own if item["max_buyback_price_usd"] is not None]
        assert row["buyback_max_usd"] == (max(tops) if tops else None)
        assert row["buyback_median_usd"] == (pytest.approx(Decimal(float(np.median(quotes)))) if quotes else None)
        ratio = both and sum(i["latest_buyback_price_usd"] for i in both) / sum(i["insured_value_usd"] for i in both)
        assert row["insured_value_ratio"] == (pytest.approx(ratio) if both else None)
