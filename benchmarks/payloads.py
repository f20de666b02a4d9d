"""Mixes of answers: the simulator's, with numbers among the trait values, and with some answers that are not plain."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

Mix = Callable[[int, str], str]  # maps the number and the body of a simulated answer to a body

# A pattern in a plain answer, and its replacement, which sends the answer to the slow path. All results are valid JSON
# for DuckDB, so that the bare queries can read them, too.
STRANGE = (
    (r'"buyback_price": [0-9.]+', '"buyback_price": true'),
    (r'"buyback_price": [0-9.]+', '"buyback_price": "$1,250.00"'),
    (r'"user_id": "[^"]*"', '"user_id": 5'),
    (r'"content": \{', '"content": null, "former": {'),
    (r'"attributes": \[[^]]*\]', '"attributes": {"Grade": "MINT 9", "Weight": 1.10}'),
    (r'"attributes": \[', '"attributes": ["Rookie", '),
    (r'"trait_type": "Year", "value": [^}]*', '"trait_type": "Subgrades", "value": {"centering": 9.5}'),
    (r'"name": "', r'"name": "\\u0041'),
    (r'"name": "', '"name": "repeated", "name": "'),
)
STRANGE_SHARE = 0.05


def _simulated(_: int, body: str) -> str:
    return body


def _with_numbers(_: int, body: str) -> str:
    """The answer with integers, decimals, booleans and nulls among the trait values of every item."""
    answer = json.loads(body)
    for item in answer["result"]["nfts"]:
        metadata = item["content"]["metadata"]
        values = {attribute["trait_type"]: attribute["value"] for attribute in metadata["attributes"]}
        for trait in ("Year", "Serial Number", "Insured Value"):
            values[trait] = json.loads(str(values[trait]).replace(",", ""))
        values |= {"Authenticated": True, "Autographed": False, "Rarity": None}
        metadata["attributes"] = [{"trait_type": trait, "value": value} for trait, value in values.items()]
    return json.dumps(answer)


def _with_strange(number: int, body: str) -> str:
    """The answer, for STRANGE_SHARE of the numbers with a replacement from STRANGE, each of them equally often."""
    every = round(1 / STRANGE_SHARE)
    if number % every:
        return body
    usual, strange = STRANGE[number // every % len(STRANGE)]
    altered = re.sub(usual, strange, body, count=1)
    if altered == body:
        raise ValueError(f"{usual} is not in {body}")
    return altered


SIMULATED = "the simulator's"
WITH_NUMBERS = "numbers, booleans, nulls"
MIXES: dict[str, Mix] = {
    SIMULATED: _simulated,
    WITH_NUMBERS: _with_numbers,
    f"{STRANGE_SHARE:.0%} strange": _with_strange,
}
