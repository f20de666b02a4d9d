"""The simulated result of each session, determined by its id and a seed.

The same id always has the same pack, items and outcome, so tests and demonstrations are repeatable without stored
state. Prices are heavy-tailed, as card values are: most quotes are below the price of the pack, a few are many times
as high.
"""

from __future__ import annotations

import base64
import random
import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

_SUBJECTS = (
    "Embertail", "Thornback", "Mistral Fox", "Copperhorn", "Glimmerwing", "Stormcaller", "Old Marrow", "Tidewarden",
    "Ashen Drake", "Lumen Stag", "Briar Golem", "Frostling", "Sable Lynx", "Quarry Titan", "Dune Serpent", "Veil Moth",
)  # fmt: skip
_SETS = ("First Light", "Sunken Courts", "Iron Season", "Wild Circuit", "Hollow Crown", "Neon Harvest")
_CATEGORIES = ("Monsters", "Baseball", "Basketball", "Football", "Soccer")
_PARALLELS = ("", "", "", "Holo", "Refractor", "Full Art", "Auto /25", "Gold /50", "First Edition")
_GRADERS = (("PSA", 70), ("CGC", 25), ("Beckett", 5))
_GRADES = {
    "PSA": ("GEM-MT 10", "MINT 9", "NM-MT 8", "NM 7", "GEM MINT 10"),
    "CGC": ("PRISTINE 10", "GEM MINT 10", "MINT+ 9.5", "MINT 9", "NM/Mint+ 8.5"),
    "Beckett": ("9.5-GEM MINT", "GEM MINT 9.5", "MINT 9", "PRISTINE 10"),
}
# The JSON types of trait values, with their shares in real NFT metadata: all text, numbers as numbers, or also booleans
# and nulls.
_WRITINGS = (("text", 70), ("numbers", 24), ("flags", 6))
_TYPES = (("enft", 55), ("ebay", 20), ("fanatics", 10), ("alt", 8), ("external", 5), (None, 2))
_COLLECTION = "".join(random.Random("collection").choices(_BASE58, k=44))


@dataclass(frozen=True)
class Pack:
    """A pack: its price in USD and its tiers as (share, lowest, highest multiple of the price)."""

    id: str
    name: str
    price: float
    tiers: tuple[tuple[float, float, float], ...]


PACKS = (
    Pack("rookie-10", "Rookie", 10, ((0.82, 0.3, 0.95), (0.14, 1.1, 2), (0.036, 2, 6), (0.004, 6, 50))),
    Pack("elite-50", "Elite", 50, ((0.82, 0.4, 0.95), (0.14, 1.1, 1.8), (0.034, 1.8, 6), (0.006, 6, 30))),
    Pack("legend-250", "Legend", 250, ((0.76, 0.45, 0.95), (0.18, 0.95, 1.6), (0.05, 1.6, 5), (0.01, 5, 25))),
    Pack("mythic-1000", "Mythic", 1000, ((0.72, 0.5, 0.95), (0.22, 0.95, 1.5), (0.05, 1.5, 4), (0.01, 4, 12))),
)
_PACK_WEIGHTS = (50, 32, 14, 4)
_BUYBACK_SHARE = 0.85
_FAILED_SHARE = 0.04
_LATEST_FULFILMENT = 40.0  # seconds after initiation
_LATEST_WITHOUT_TIME = 5.0  # seconds after the first request, for ids without a start time
_STUCK = 0x57_0C_4B  # the low bits of the id of a session that stays pending; by chance one in sixteen million


@dataclass(frozen=True)
class SimulatedSession:
    """A simulated session. `delay` is the time in seconds from its start to the final answer."""

    session_id: str
    pack: Pack
    quantity: int
    is_failed: bool
    is_stuck: bool
    delay: float
    started_at: float | None
    result: dict[str, Any]

    @property
    def price(self) -> float:
        return self.pack.price * self.quantity


@lru_cache(maxsize=4096)
def session(seed: int, session_id: str, is_sandbox: bool) -> SimulatedSession:
    """The simulated session of an id."""
    rng = random.Random(f"{seed}/{session_id}")
    pack = rng.choices(PACKS, _PACK_WEIGHTS)[0]
    quantity = rng.choices((1, 2, 3, 5), (80, 10, 6, 4))[0]
    started_at = _time_in(session_id)
    is_failed = rng.random() < _FAILED_SHARE
    delay = 0.0 if rng.random() < 0.6 else min(rng.lognormvariate(1.0, 1.5), _LATEST_FULFILMENT)
    if started_at is None:
        delay = min(delay, _LATEST_WITHOUT_TIME)
    items = [_item(rng, pack, is_sandbox) for _ in range(quantity)]
    result = {
        "session_id": session_id,
        "user_id": f"user_{rng.randrange(400):03d}",
        "public_id": "_" + "".join(rng.choices(_ALNUM, k=6)),
        "nfts": items,
        "tx_hash": _sandbox_hash(rng) if is_sandbox else "".join(rng.choices(_BASE58, k=88)),
    }
    return SimulatedSession(session_id, pack, quantity, is_failed, _is_stuck(session_id), delay, started_at, result)


def session_id_at(rng: random.Random, milliseconds: int, is_stuck: bool = False) -> str:
    """A session id with its start time: a UUID of version 7 (RFC 9562). A stuck session never becomes final."""
    value = milliseconds << 80 | rng.getrandbits(80)
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0b11 << 62) | 0b10 << 62
    return str(uuid.UUID(int=value & ~0xFF_FF_FF | _STUCK if is_stuck else value))


def is_session_id(text: str) -> bool:
    """Whether the text is an id in the API's format."""
    return _uuid(text) is not None


def _uuid(session_id: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(session_id)
    except ValueError:
        return None


def _time_in(session_id: str) -> float | None:
    parsed = _uuid(session_id)
    return (parsed.int >> 80) / 1000 if parsed and parsed.version == 7 else None


def _is_stuck(session_id: str) -> bool:
    parsed = _uuid(session_id)
    return parsed is not None and parsed.int & 0xFF_FF_FF == _STUCK


def _sandbox_hash(rng: random.Random) -> str:
    return "sandbox_" + base64.urlsafe_b64encode(rng.randbytes(24)).decode().rstrip("=")


def _item(rng: random.Random, pack: Pack, is_sandbox: bool) -> dict[str, Any]:
    item_type = rng.choices([t for t, _ in _TYPES], [w for _, w in _TYPES])[0]
    is_on_chain = item_type in ("enft", None)
    listing = f"v1|{rng.randrange(10**11, 10**12)}|0"
    # Items that are sold back are pulled again, so ids come from a limited stock.
    stock = random.Random(f"{pack.id}/{rng.randrange(20_000)}")
    mint = "".join(stock.choices(_BASE58, k=stock.choice((43, 44))))
    card = _card(stock if is_on_chain else rng)
    _, low, high = rng.choices(pack.tiers, [share for share, _, _ in pack.tiers])[0]
    value = pack.price * low * (high / low) ** rng.random()
    image = f"https://cdn.simulator.example/cards/{stock.randrange(16**8):08x}"
    metadata: dict[str, Any] = {"name": card["name"], "image": f"{image}.png", "back_image": f"{image}-back.png"}
    metadata["attributes"] = _attributes(stock, card, value)
    content: dict[str, Any] = {"metadata": metadata}
    if not is_sandbox:
        content["links"] = {"image": metadata["image"], "back_image": metadata["back_image"]}
    item = {
        "id": mint if is_on_chain else listing,
        "buyback_price": round(value * _BUYBACK_SHARE, 2),
        "mint_address": mint if is_on_chain else None,
        "collection_address": _COLLECTION if is_on_chain else None,
        "token_standard": "pNFT" if is_on_chain else None,
        "content": content,
    }
    return item if item_type is None else {**item, "type": item_type}


def _card(rng: random.Random) -> dict[str, Any]:
    grader = rng.choices([g for g, _ in _GRADERS], [w for _, w in _GRADERS])[0]
    grade = rng.choice(_GRADES[grader])
    year = str(rng.randrange(1986, 2026))
    number = str(rng.randrange(1, 300))
    set_name, subject, parallel = rng.choice(_SETS), rng.choice(_SUBJECTS), rng.choice(_PARALLELS)
    name = " ".join(
        part for part in (year, f"#{number}", subject, parallel, grader, grade.split()[-1], set_name) if part
    )
    traits = {
        "Year": year,
        "Category": rng.choice(_CATEGORIES),
        "Set": set_name,
        "Grader": grader,
        "Grade": grade,
        "Cert Number": str(rng.randrange(10**7, 10**9)),
        "Serial Number": number,
    }
    return {"name": name, "traits": traits}


def _attributes(rng: random.Random, card: dict[str, Any], insured_value: float) -> list[dict[str, Any]]:
    """The card's traits as a list: all as text, with numbers as numbers, or also with booleans and nulls."""
    traits = card["traits"]
    writing = rng.choices([w for w, _ in _WRITINGS], [share for _, share in _WRITINGS])[0]
    written: dict[str, Any] = {**traits, "Insured Value": f"{insured_value:,.2f}"}
    if writing != "text":
        numbers = {trait: int(traits[trait]) for trait in ("Year", "Serial Number")}
        written |= numbers | {"Insured Value": round(insured_value, 2)}
    if writing == "flags":
        written |= {"Authenticated": True, "Autographed": "Auto" in card["name"], "Rarity": None}
    return [{"trait_type": trait, "value": value} for trait, value in written.items()]
