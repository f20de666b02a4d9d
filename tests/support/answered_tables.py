"""The tables of given answers, compared with what the reference reads."""

from __future__ import annotations

import json

from pipeline.simulator.server import Reply, Simulator
from pipeline.steps import Workspace
from tests.support import reference
from tests.support.workspace import drop, records, refresh


def published(api, bodies: dict[str, bytes]) -> Workspace:
    """A workspace whose sessions were answered with these bodies."""
    api(Simulator(hold=0, scripts={session_id: [Reply(200, body)] for session_id, body in bodies.items()}))
    workspace = Workspace.open()
    drop(workspace, "ids.txt", "\n".join(bodies))
    refresh(workspace)
    return workspace


def assert_agrees_with_the_reference(workspace: Workspace, bodies: dict[str, bytes]) -> None:
    for session_id, body in bodies.items():
        where = f"WHERE session_id = '{session_id}'"
        expected = reference.pulls(body)
        columns = ", ".join(expected[0])
        assert records(workspace, f"SELECT {columns} FROM pulls {where} ORDER BY pull_number") == expected
        expected = reference.attributes(body)
        got = records(
            workspace,
            "SELECT pull_number, attribute_number, trait_type, value, value_type, value_number "
            f"FROM item_attributes {where} ORDER BY ALL",
        )
        for ours, theirs in zip(got, expected, strict=True):
            if theirs["value_type"] in ("number", "object", "array"):
                assert json.loads(ours.pop("value")) == json.loads(theirs.pop("value"))
            assert ours == theirs
