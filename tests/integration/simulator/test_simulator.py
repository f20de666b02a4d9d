"""The simulator behaves as the API's reference page says, in both modes."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime

import httpx
import pytest

from pipeline.simulator import catalogue
from pipeline.simulator.server import DEFAULT_SEED, Simulator
from pipeline.simulator.service import serve

PATH = "/api/v1/vm/buy/status"
IDS = [f"session-{i}" for i in range(120)]


def ask(simulator: Simulator, *session_ids: str, key: str = "k") -> list[httpx.Response]:
    with serve(simulator) as url, httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=20) as client:
        return [client.post(PATH, json={"session_id": session_id}) for session_id in session_ids]


def test_sandbox_fulfils_at_once_with_synthetic_hashes_and_no_links():
    for session_id, response in zip(IDS, ask(Simulator(mode="sandbox"), *IDS), strict=True):
        result = response.json()["result"]
        assert response.status_code == 200
        assert result["session_id"] == session_id
        assert re.fullmatch(r"sandbox_[A-Za-z0-9_-]+", result["tx_hash"])
        for item in result["nfts"]:
            assert "links" not in item["content"]
            if item.get("type") == "ebay":
                assert item["mint_address"] is None
                assert re.fullmatch(r"v1\|\d+\|0", item["id"])


@pytest.mark.parametrize("mode", ["sandbox", "production"])
def test_an_unknown_session_is_a_failed_transaction(mode):
    simulator = Simulator(mode=mode, known=lambda session_id: session_id == "known", delay_scale=0)
    unknown, known = ask(simulator, "unknown", "known")
    assert (unknown.status_code, unknown.json()) == (400, {"error": "Transaction failed"})
    assert known.json() != unknown.json()


def test_production_is_pending_for_a_while_fails_some_and_holds_calls():
    simulator = Simulator(hold=0, delay_scale=1)
    first = ask(simulator, *IDS)
    outcomes = {"pending" if r.json().get("status") else "failed" if r.status_code == 400 else "done" for r in first}
    assert outcomes == {"pending", "failed", "done"}
    final = ask(Simulator(delay_scale=0), *IDS)
    assert all("status" not in response.json() for response in final)


def test_faults_come_at_the_rate_that_was_set():
    simulator = Simulator(hold=0, delay_scale=0, fault_rate=0.5, seed=3)
    bad = 0
    with serve(simulator) as url, httpx.Client(base_url=url, timeout=20) as client:
        for session_id in IDS:
            try:
                response = client.post(PATH, json={"session_id": session_id})
            except httpx.HTTPError:
                bad += 1
            else:
                bad += response.status_code >= 500
    assert 40 <= bad <= 80


def test_calls_above_the_rate_limit_get_a_429_that_says_when_to_come_back():
    responses = ask(Simulator(hold=0, delay_scale=0, rate_limit=5), *IDS[:20])
    busy = [r for r in responses if r.status_code == 429]
    assert busy
    assert busy[0].headers["Retry-After"] == "1"


def test_a_wrong_key_is_refused():
    (response,) = ask(Simulator(key="right"), "s", key="wrong")
    assert (response.status_code, response.json()) == (401, {"error": "Invalid API key"})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"session_id": 5}'])
def test_a_request_that_is_none_is_refused(body):
    with serve(Simulator()) as url:
        assert httpx.post(url + PATH, content=body).status_code == 422


def test_the_same_seed_gives_the_same_session_and_another_seed_another():
    one, same = catalogue.session(1, "s", False), catalogue.session(1, "s", False)
    assert one.result == same.result
    assert catalogue.session(2, "s", False).result != one.result


def test_prices_are_heavy_tailed_and_below_the_price_of_the_pack_as_a_rule():
    multiples = sorted(
        item["buyback_price"] / fate.pack.price
        for fate in (catalogue.session(DEFAULT_SEED, f"s{i}", False) for i in range(3000))
        for item in fate.result["nfts"]
    )
    assert multiples[len(multiples) // 2] < 0.8
    assert multiples[-1] > 10
    assert 0.6 < sum(multiples) / len(multiples) < 1.0


def test_trait_values_are_text_as_a_rule_and_numbers_booleans_and_nulls_in_a_part_of_the_items():
    fates = [catalogue.session(DEFAULT_SEED, f"s{i}", False) for i in range(1000)]
    kinds = [
        {type(attribute["value"]) for attribute in item["content"]["metadata"]["attributes"]}
        for fate in fates
        for item in fate.result["nfts"]
    ]
    assert {kind for found in kinds for kind in found} == {str, int, float, bool, type(None)}
    assert 0.6 < sum(found == {str} for found in kinds) / len(kinds) < 0.8
    assert 0.03 < sum(bool in found for found in kinds) / len(kinds) < 0.1


def test_an_id_that_says_when_it_began_is_a_uuid_of_version_7():
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    session_id = catalogue.session_id_at(random.Random(1), int(moment.timestamp() * 1000))
    fate = catalogue.session(1, session_id, False)
    assert session_id[14] == "7"
    assert fate.started_at == moment.timestamp()
    assert not fate.is_stuck
    assert catalogue.session(1, catalogue.session_id_at(random.Random(1), 0, is_stuck=True), False).is_stuck
