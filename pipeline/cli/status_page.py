"""Prints the status for people."""

from __future__ import annotations

from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.status import Pending, Status
from pipeline.orchestration.run_history import Trigger
from pipeline.report.wording import counted, day, duration, moment


def print_status(console: Console, status: Status) -> None:
    """Prints what needs a person first, then one line for each part, then the pending sessions."""
    for need in status.needs_person:
        console.print(f"Needs a person: {need.message}", soft_wrap=True)
    if not status.needs_person:
        console.print("Nothing needs a person.")
    for name, line in (
        ("Environment", status.environment),
        ("Data directory", status.data_directory),
        ("New files", _new_files(status)),
        ("Pending", _pending(status)),
        ("Last run", _last_run(status)),
        ("Published", _published(status)),
        ("Schedules", _trigger(status.schedules, status)),
        ("Sensors", _trigger(status.sensors, status)),
    ):
        console.print(f"{name + ':':<16}{line}", soft_wrap=True)
    if status.pending.sessions:
        _print_pending(console, status.pending)


def _new_files(status: Status) -> str:
    waiting = [f"{counted(n, 'new file')} in {folder}" for folder, n in status.new_files.items() if n]
    return ", ".join(waiting) or "0 new files"


def _pending(status: Status) -> str:
    pending = status.pending
    if pending.oldest is None:
        return "no session"
    return f"{counted(pending.sessions, 'session')}, the oldest since {_ago(pending.oldest, status)}"


def _last_run(status: Status) -> str:
    run = status.last_run
    if run is None:
        return f"unknown: {status.history_unknown_because}" if status.history_unknown_because else "none yet"
    started = f"{run.result}, {'created' if run.result == 'queued' else 'started'} {_ago(run.started_at, status)}"
    if run.result == "unfinished":
        return f"{started}; it does not write: it is starting or ending, or its process died"
    took = f"{started}, took {duration(run.seconds)}" if run.seconds is not None else started
    return f"{took}\n{'What to do:':<16}{run.what_to_do}" if run.what_to_do else took


def _published(status: Status) -> str:
    if status.published is None:
        return "Nothing is published yet: run `phygitals refresh`."
    rows = ", ".join(f"{count:,} {table}" for table, count in status.published.rows.items())
    by_status = ", ".join(f"{count:,} {name}" for name, count in status.published.purchases_by_status.items())
    purchases = f"\n{'Purchases:':<16}{by_status}" if by_status else ""
    window = status.published.window
    days = f" of {day(window.first_day)} to {day(window.last_day)}" if window else ""
    return f"{_ago(status.published.published_at, status)}: {rows}{days}{purchases}"


def _trigger(trigger: Trigger, status: Status) -> str:
    if trigger.state == "unknown":
        return "unknown"
    seen = f", last seen {_ago(trigger.last_seen_at, status)}" if trigger.last_seen_at else ", never seen"
    off = f"; turned off: {', '.join(trigger.turned_off)}" if trigger.turned_off else ""
    return trigger.state + (seen if trigger.state == "stopped" else "") + off


def _ago(time: datetime, status: Status) -> str:
    return f"{moment(time)} ({duration(max(0.0, (status.as_of - time).total_seconds()))} ago)"


def _print_pending(console: Console, pending: Pending) -> None:
    ages = Table("pending for", "sessions", "oldest", "never polled", title="Pending for", title_justify="left")
    for age in pending.ages:
        ages.add_row(age.pending_for, f"{age.sessions:,}", moment(age.oldest), f"{age.never_polled:,}")
    console.print(ages)
    longest = Table(title="Pending longest", title_justify="left")
    for name in ("session id", "submitted", "last polled", "polls"):
        longest.add_column(name, overflow="fold")
    for session in pending.longest:
        times = moment(session.submitted_at), moment(session.last_polled_at)
        longest.add_row(Text(session.session_id), *times, f"{session.polls:,}")
    console.print(longest)
