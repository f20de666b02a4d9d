"""Group `raw`: submissions, records of sellbacks, pending sessions, and the API's answers."""

import time
from collections.abc import Callable, Iterator

import dagster as dg

from pipeline.catalog.markdown import counts_in_words
from pipeline.catalog.table_profile import retries
from pipeline.clock import now
from pipeline.orchestration.declared import built, materialized, table_spec
from pipeline.orchestration.shards import CLAIM_WITHIN
from pipeline.orchestration.step import Step
from pipeline.polling.progress import Exit, Progress
from pipeline.schema.raw import PENDING_SESSIONS, SELLBACK_SUBMISSIONS, SESSION_SUBMISSIONS, STATUS_RESPONSES
from pipeline.schema.table import Table
from pipeline.sources.intake import IntakeReport

_LOG_EVERY = 5.0  # seconds between two progress lines in the run's log

RAW_SPECS = [
    table_spec(SESSION_SUBMISSIONS),
    table_spec(SELLBACK_SUBMISSIONS),
    # Pending sessions also depend on the answers of earlier runs, which would be a cycle in the lineage.
    table_spec(PENDING_SESSIONS, deps=["session_submissions"]),
    table_spec(STATUS_RESPONSES, deps=["pending_sessions"]),
]


def take_in(step: Step) -> Iterator[dg.MaterializeResult[None]]:
    """Reads the inbox's new files."""
    yield from _intake(step, SESSION_SUBMISSIONS, step.opened.take_in)


def take_in_sellbacks(step: Step) -> Iterator[dg.MaterializeResult[None]]:
    """Reads the new files of the folder `sellbacks`."""
    yield from _intake(step, SELLBACK_SUBMISSIONS, step.opened.take_in_sellbacks)


def _intake(
    step: Step, table: Table, take_in_files: Callable[[], IntakeReport]
) -> Iterator[dg.MaterializeResult[None]]:
    started = time.monotonic()
    report = take_in_files()
    for line in report.lines:
        step.notify(line)
    step.has_news |= bool(report.files)
    is_reported = bool(report.lines) or step.has_to_report(table.name)
    if is_reported:
        numbers = {
            "files_read": len(report.files),
            "files_already_known": len(report.already_known),
            "files_left": len(report.left),
            "files_rejected": sum(file.refused_because is not None for file in report.files),
            **{count: report.total(count) for count in ("rows_read", "accepted", "duplicates", "rejected")},
            "seconds": round(time.monotonic() - started, 2),
        }
        files = [dg.TableRecord(vars(file)) for file in report.files]
        yield materialized(step.opened, step.connection_with(table), table, numbers, files)
    step.check(table, is_reported)
    step.stop_if_a_check_failed()


def find_pending(step: Step) -> Iterator[dg.MaterializeResult[None]]:
    """Lists the pending sessions."""
    started = time.monotonic()
    with step.opened.builder() as builder:
        report = builder.build(PENDING_SESSIONS)
    is_reported = bool(report.written) or step.has_to_report(PENDING_SESSIONS.name)
    if is_reported:
        yield built(step.opened, step.connection_with(PENDING_SESSIONS), report, time.monotonic() - started)
    step.check(PENDING_SESSIONS, is_reported)
    step.stop_if_a_check_failed()


def poll(step: Step) -> Iterator[dg.MaterializeResult[None]]:
    """Polls the pending sessions."""
    last_line = 0.0

    def log_progress(progress: Progress) -> None:
        nonlocal last_line
        step.on_progress(progress)
        if time.monotonic() - last_line >= _LOG_EVERY:
            last_line = time.monotonic()
            step.log.info(progress.line)

    since = now()
    progress = step.opened.poll(log_progress, step.notify, CLAIM_WITHIN if step.has_daemon else 0.0)
    step.log.info(f"{progress.line}; {progress.ending}")
    if progress.exit in (Exit.ASKED_TO_WAIT, Exit.SESSIONS_WAIT):
        step.notify(f"polling ended early: {progress.ending}")
    step.has_news |= bool(progress.requests)
    is_reported = bool(progress.total) or step.has_to_report(STATUS_RESPONSES.name)
    if is_reported:
        connection = step.connection_with(STATUS_RESPONSES)
        numbers = {
            "requests": progress.requests,
            "retries": retries(connection, step.opened.data.store, since),
            "requests_per_second": round(progress.rate, 2),
            "seconds": round(progress.seconds, 1),
            "still_pending": progress.pending,
        }
        outcomes = counts_in_words({outcome.value: count for outcome, count in progress.all_outcomes.items()})
        this_run = f"{progress.line}; {progress.ending}. Answers: {outcomes}."
        yield materialized(step.opened, connection, STATUS_RESPONSES, numbers, this_run=this_run)
    step.check(STATUS_RESPONSES, is_reported)
    step.stop_if_a_check_failed()
