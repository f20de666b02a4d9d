"""The endpoints of the API that are polled. Client, engine, log and compaction take what is theirs from here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.endpoint import STATUS_PATH
from pipeline.polling.answers import Answer, Meaning, interpret
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.schema.table import Table


@dataclass(frozen=True)
class Endpoint:
    """A call of the API that is repeated for each session until its answer is final.

    `path` is below the API's prefix. `request` makes the body for a session id. `interpret` gives the meaning of an
    answer for a session id; its third argument says that the request confirms a failure. `table` keeps the answers.
    """

    path: str
    request: Callable[[str], bytes]
    interpret: Callable[[str, Answer, bool], Meaning]
    table: Table


def _request(session_id: str) -> bytes:
    return json.dumps({"session_id": session_id}).encode()


BUY_STATUS = Endpoint(STATUS_PATH, _request, interpret, STATUS_RESPONSES)

ENDPOINTS = (BUY_STATUS,)  # all that are polled; recovery and compaction go through their tables
