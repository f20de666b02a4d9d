"""Group `raw`: what came in. Submissions from the inbox, who is still pending, and the API's answers."""

import time

import dagster as dg

from pipeline.assets.declared import asset_options, built, materialized
from pipeline.assets.resources import WorkspaceResource
from pipeline.polling.progress import Progress
from pipeline.schema.raw import PENDING_SESSIONS, SESSION_SUBMISSIONS, STATUS_RESPONSES
from pipeline.tables.vital_signs import retries
from pipeline.workspace import now

_LOG_EVERY = 5.0  # seconds between two progress lines in the run's log


@dg.asset(**asset_options(SESSION_SUBMISSIONS))
def session_submissions(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[WorkspaceResource]
) -> dg.MaterializeResult[None]:
    started = time.monotonic()
    with workspace.open() as opened:
        report = opened.take_in()
        for line in report.lines:
            context.log.info(line)
            workspace.on_line(line)
        numbers = {
            "files_read": len(report.files),
            "files_already_known": len(report.already_known),
            "files_rejected": sum(file.refused_because is not None for file in report.files),
            **{count: report.total(count) for count in ("rows_read", "accepted", "duplicates", "rejected")},
            "seconds": round(time.monotonic() - started, 2),
        }
        files = [dg.TableRecord(vars(file)) for file in report.files]
        return materialized(opened, SESSION_SUBMISSIONS, numbers, files)


# It reads the answers of earlier runs, too; in the lineage that would be a circle.
@dg.asset(**asset_options(PENDING_SESSIONS, deps=["session_submissions"]))
def pending_sessions(workspace: dg.ResourceParam[WorkspaceResource]) -> dg.MaterializeResult[None]:
    started = time.monotonic()
    with workspace.open() as opened:
        with opened.builder() as builder:
            report = builder.build(PENDING_SESSIONS)
        return built(opened, report, time.monotonic() - started)


@dg.asset(**asset_options(STATUS_RESPONSES, deps=["pending_sessions"]))
def status_responses(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[WorkspaceResource]
) -> dg.MaterializeResult[None]:
    last_line = 0.0

    def log_progress(progress: Progress) -> None:
        nonlocal last_line
        workspace.on_progress(progress)
        if time.monotonic() - last_line >= _LOG_EVERY:
            last_line = time.monotonic()
            context.log.info(progress.line)

    since = now()
    with workspace.open() as opened:
        progress = opened.poll(log_progress)
        context.log.info(f"{progress.line}; {progress.exit.value if progress.exit else 'nothing was pending'}")
        numbers = {
            "sessions_asked": progress.total,
            "requests": progress.requests,
            "retries": retries(opened.data, since),
            "requests_per_second": round(progress.rate, 2),
            "seconds": round(progress.seconds, 1),
            "resolved": progress.fulfilled + progress.failed,
            "still_pending": progress.pending,
            **{outcome.value: count for outcome, count in progress.all_outcomes.items()},
        }
        return materialized(opened, STATUS_RESPONSES, numbers)
