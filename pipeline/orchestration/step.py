"""One execution of the step that makes assets: its selection, reports and failed checks."""

from __future__ import annotations

from datetime import datetime

import dagster as dg
import duckdb
from croniter import croniter

from pipeline.clock import now
from pipeline.orchestration.checks import evaluation, evaluations
from pipeline.orchestration.command_line_runs import is_started_by_dagster
from pipeline.orchestration.definition_settings import SETTINGS
from pipeline.orchestration.failures import failed_checks
from pipeline.orchestration.resources import WorkspaceResource
from pipeline.quality.findings import Finding
from pipeline.quality.rules import Severity
from pipeline.report.wording import escape_controls
from pipeline.schema.table import Table
from pipeline.steps import Workspace


class Step:
    """The step of one run on the run's open workspace.

    Dagster takes longer to write an event than the builder takes to recognize an unchanged table, so a run reports only
    the assets that it changed. Freshness policies need reports of the others, too: the first refresh after the daily
    schedule's time, and a run with selected assets, report all of theirs.
    """

    def __init__(self, context: dg.AssetExecutionContext, workspace: WorkspaceResource, opened: Workspace) -> None:
        self.opened = opened
        self.started_at = now()
        self.on_progress = workspace.on_progress
        self.log = context.log
        self._context = context
        self._on_line = workspace.on_line
        self._checker = workspace.checker(opened)
        self._chosen = {key.to_user_string() for key in context.selected_asset_keys}
        self._up_to_date = set() if context.run.asset_selection else _reported_since_schedule(context)
        self.has_daemon = is_started_by_dagster(context.run)
        self._failed: list[dg.AssetCheckEvaluation] = []
        self.has_news = False  # whether the run received raw data

    def is_asked_for(self, asset: str) -> bool:
        return asset in self._chosen

    def has_to_report(self, asset: str) -> bool:
        """Whether the asset must be reported even if unchanged."""
        return asset not in self._up_to_date

    def notify(self, line: str) -> None:
        """Logs a line and passes it to the run's watcher."""
        self.log.info(escape_controls(line))
        self._on_line(line)

    def connection_with(self, table: Table) -> duckdb.DuckDBPyConnection:
        """A connection with a view of the current table under its name."""
        return self._checker.connection_with(table)

    def check(self, table: Table, is_reported: bool) -> bool:
        """Evaluates the table's checks; returns whether dependent tables may be built.

        If the run does not report the table, only newly computed findings are logged.
        """
        return self._log(evaluations(self._checker, table, is_reported))

    def check_published(self, name: str, finding: Finding) -> bool:
        """Logs the finding of the published file's check; returns whether it passed."""
        return self._log([evaluation("warehouse", name, finding, Severity.ERROR)])

    def stop_if_a_check_failed(self) -> None:
        """Raises dagster.Failure with the remedy if a blocking check failed."""
        if self._failed:
            raise dg.Failure(failed_checks(self._failed), allow_retries=False)

    def _log(self, found: list[dg.AssetCheckEvaluation]) -> bool:
        for one in found:
            self._context.log_event(one)
        failed = [one for one in found if one.blocking and not one.passed]
        self._failed += failed
        return not failed


def _reported_since_schedule(context: dg.AssetExecutionContext) -> set[str]:
    """The assets reported since the last due time of the daily schedule."""
    since = croniter(SETTINGS.daily_cron, now(), ret_type=datetime).get_prev().timestamp()
    entries = [record.asset_entry for record in context.instance.get_asset_records(list(context.selected_asset_keys))]
    return {
        entry.asset_key.to_user_string()
        for entry in entries
        if entry.last_materialization and entry.last_materialization.timestamp >= since
    }
