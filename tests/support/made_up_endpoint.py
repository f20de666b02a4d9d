"""An endpoint that the API does not have: the owner of an item. Polling takes all of it from the declaration.

`item_owners` is a table that is derived from its answers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from pipeline.polling.answers import Answer, Meaning, Outcome
from pipeline.polling.document import Repeating, parse
from pipeline.polling.endpoint import Endpoint
from pipeline.polling.pending import PendingSessions
from pipeline.polling.progress import Progress
from pipeline.schema.raw import OUTCOMES
from pipeline.schema.table import TIME, Column, Partition, Table, Zone
from pipeline.steps import Workspace, serving_url
from pipeline.storage import raw_log
from tests.support.strange_servers import raw

ITEM_OWNER_RESPONSES = Table(
    "item_owner_responses",
    "One row per request to item/owner, with the answer verbatim.",
    (
        Column("received_at", TIME, "When the answer was complete or the attempt ended", nullable=False),
        Column("requested_at", TIME, "When the request was sent", nullable=False),
        Column("session_id", "VARCHAR", "The item that was polled", nullable=False),
        Column("outcome", "VARCHAR", "The answer's meaning", nullable=False, accepted=OUTCOMES),
        Column("detail", "VARCHAR", "Explanation of the outcome; NULL if it needs none"),
        Column("body_sha256", "VARCHAR", "SHA-256 of `body`, in hexadecimal"),
        Column("body", "BLOB", "The answer's body, byte for byte, at most 8 MiB; NULL if no answer came"),
        Column("has_repeated_keys", "BOOLEAN", "Whether keys are repeated; the last one counts"),
    ),
    zone=Zone.RAW,
    group="raw",
    partition=Partition.OBSERVED,
)

ITEM_OWNERS = Table(
    "item_owners",
    "One row per item with an owner.",
    (
        Column("item_id", "VARCHAR", "The item", key=True),
        Column("owner", "VARCHAR", "Its owner"),
        Column("owned_at", TIME, "When the answer came", nullable=False),
    ),
    partition=Partition.OBSERVED,
    sources=(ITEM_OWNER_RESPONSES.name,),
    reads_answer_text=True,
)

ITEM_OWNERS_SQL = """
SELECT session_id AS item_id, text ->> '$.owner' AS owner, received_at AS owned_at
FROM answers
WHERE outcome = 'fulfilled'
ORDER BY received_at, session_id
"""


def _request(item_id: str) -> bytes:
    return json.dumps({"item_id": item_id}).encode()


def interpret_owner(item_id: str, answer: Answer, _confirms: bool = False) -> Meaning:
    """The meaning of an answer to a request about `item_id`. An item without an owner is pending."""
    if answer.status != 200:
        return Meaning(Outcome.TRANSIENT, answer.problem or f"HTTP {answer.status}")
    document = answer.problem or parse(answer.body or b"")
    if isinstance(document, str):
        return Meaning(Outcome.MALFORMED, document)
    if document.get("item_id") != item_id:
        return Meaning(Outcome.MALFORMED, "item_id is another item's")
    outcome = Outcome.FULFILLED if document.get("owner") else Outcome.PENDING
    return Meaning(outcome, has_repeated_keys=isinstance(document, Repeating))


ITEM_OWNER = Endpoint("/vm/item/owner", _request, interpret_owner, ITEM_OWNER_RESPONSES)


def owner_body(item_id: str, owner: str | None = "somebody") -> bytes:
    return json.dumps({"item_id": item_id, "owner": owner}).encode()


def owner_answer(item_id: str, outcome: Outcome) -> Answer:
    """The answer with this meaning, for the virtual clock."""
    if outcome is Outcome.MALFORMED:
        return Answer(200, {}, b'{"owner": "nobody"}')
    return Answer(200, {}, owner_body(item_id, "somebody" if outcome is Outcome.FULFILLED else None))


def poll_owners(workspace: Workspace, item_ids: Iterable[str]) -> Progress:
    """Polls the owners of these items that are not known yet, as a step of a run does."""
    # Imported here as in `Workspace`: the HTTP client is slow to import.
    from pipeline.polling.run import poll

    with workspace.data.exclusive(), serving_url(workspace.settings, ITEM_OWNER) as url:
        raw_log.recover(workspace.data, ITEM_OWNER.table)
        known = {item_id for (item_id,) in raw(workspace, "session_id", "outcome = 'fulfilled'", ITEM_OWNER.table)}
        items = PendingSessions.of((item_id for item_id in item_ids if item_id not in known), time.time())
        return poll(workspace.data, workspace.settings, ITEM_OWNER, url, items, lambda _progress: None)
