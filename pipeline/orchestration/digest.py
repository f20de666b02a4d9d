"""Sends the daily digest: one message to a webhook, after the first run that succeeds since the daily schedule's time.

The day is recorded before the message is sent, so that a run that is killed meanwhile cannot lead to a second one.
"""

from __future__ import annotations

import contextlib
import html
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from croniter import croniter

from pipeline.clock import now
from pipeline.errors import PipelineError
from pipeline.steps import Workspace

_NAME = "digest"
_VARIABLE = "PHYGITALS_DIGEST_WEBHOOK"


@dataclass(frozen=True)
class _Sent:
    day: str | None = None  # of the schedule's time after which the last digest was sent, in UTC


def send_digest(opened: Workspace, run_started_at: datetime, on_line: Callable[[str], None]) -> None:
    """Sends today's digest if a webhook is set and the digest is due and unsent. The caller holds the lock.

    A failure goes to `on_line` and has no other effect; the next run tries again.
    """
    url = opened.settings.digest_url
    if url is None:
        return
    moment, records = now(), opened.data.records
    cron = opened.settings.daily_cron
    day = _scheduled_day(cron, moment)
    # A run that began before the schedule's time leaves the digest to the next. The day may be over by now.
    if _scheduled_day(cron, run_started_at) != day or (records.load(_NAME, _Sent) or _Sent()).day == day:
        return
    # Used once a day, and slow to import.
    from pipeline.orchestration import webhook
    from pipeline.report.digest import digest
    from pipeline.report.queries import read_published

    environment, host = opened.settings.env, socket.gethostname()
    try:
        facts = read_published(opened.data, moment)
        text = html.escape(digest(facts, environment, host, opened.data.report), quote=False)
        records.save(_NAME, {"day": day})
        try:
            webhook.post(url, {"text": text, "environment": environment, "host": host}, variable=_VARIABLE)
        except PipelineError:
            with contextlib.suppress(OSError):
                records.forget(_NAME)
            raise
    except PipelineError as error:
        on_line(f"the daily digest was not sent: {error}; the next run tries again")


def _scheduled_day(cron: str, moment: datetime) -> str:
    """The UTC day of the schedule's last time before a moment."""
    scheduled: datetime = croniter(cron, moment, ret_type=datetime).get_prev()
    return scheduled.date().isoformat()
