"""Answers of the API as tests make them."""

from __future__ import annotations

import json

from pipeline.simulator.server import Reply


def fulfilled(session_id: str, *items: dict) -> Reply:
    return Reply.json({"result": {"session_id": session_id, "user_id": "u", "nfts": list(items) or [{"id": "i"}]}})


def answer(session_id: str, items: object, **more: object) -> bytes:
    result = {"session_id": session_id, "user_id": "u", "public_id": "_P", "nfts": items, "tx_hash": "hash"}
    return json.dumps({"result": {**result, **more}}).encode()
