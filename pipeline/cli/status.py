"""Prints the pending sessions and their ages."""

from __future__ import annotations

from rich.console import Console

from pipeline.cli.table_output import print_rows
from pipeline.publish.warehouse import open_warehouse
from pipeline.sources.inbox import Inbox
from pipeline.sources.kinds import SELLBACKS, SESSIONS
from pipeline.steps import Workspace

_AGEING = """
    SELECT
        CASE
            WHEN age < INTERVAL 1 MINUTE THEN 'under a minute'
            WHEN age < INTERVAL 10 MINUTE THEN '1 to 10 minutes'
            WHEN age < INTERVAL 1 HOUR THEN '10 to 60 minutes'
            WHEN age < INTERVAL 1 DAY THEN '1 to 24 hours'
            ELSE 'over a day'
        END AS pending_for,
        count(*) AS sessions, min(submitted_at) AS oldest, count(*) FILTER (poll_count = 0) AS never_polled
    FROM (SELECT *, now() - submitted_at AS age FROM pending_sessions)
    GROUP BY ALL ORDER BY min(age)
"""
_OLDEST = """
    SELECT session_id, submitted_at, last_polled_at, poll_count AS polls
    FROM pending_sessions ORDER BY submitted_at, session_id LIMIT 10
"""
_BY_STATUS = "SELECT status, count(*) AS sessions FROM purchases GROUP BY status ORDER BY sessions DESC"


def print_status(console: Console, workspace: Workspace) -> None:
    """Prints the unread files, the pending sessions according to raw, and the published counts by status."""
    for kind in (SESSIONS, SELLBACKS):
        waiting = Inbox(workspace.data, kind).new_files()
        if waiting or kind is SESSIONS:
            console.print(f"{len(waiting)} new files in {kind.path(workspace.data)}", soft_wrap=True)
    with workspace.pending_sessions() as connection:
        print_rows(console, connection.execute(_AGEING), "Pending for")
        print_rows(console, connection.execute(_OLDEST), "Pending longest")
    if not workspace.data.warehouse.exists():
        console.print("Nothing is published yet: run `phygitals refresh`.")
        return
    with open_warehouse(workspace.data.warehouse) as connection:
        print_rows(console, connection.execute(_BY_STATUS), "Sessions, as published")
