"""One execution of the step that makes assets: what it is asked for, what it reports, and the checks that failed."""

from __future__ import annotations

from datetime import datetime

import dagster as dg
import duckdb
from croniter import croniter

from pipeline.clock import now
from pipeline.orchestration.checks import evaluation, evaluations
from pipeline.orchestration.definition_settings import SETTINGS
from pipeline.orchestration.failures import failed_checks
from pipeline.orchestration.resources import WorkspaceResource
from pipeline.quality.findings import Finding
from pipeline.quality.rules import Severity
from pipeline.report.wording import harmless
from pipeline.schema.table import Table
from pipeline.steps import Workspace


class Step:
    """The step of one run, over the run's open workspace.

    Each event takes Dagster longer to write than an unchanged table takes to be recognized, so a run reports what it
    changed. Freshness policies want to hear of the rest as well: the first refresh after the daily schedule's time
    reports every asset, and so does a run that was asked for certain assets.
    """

    def __init__(self, context: dg.AssetExecutionContext, workspace: WorkspaceResource, opened: Workspace) -> None:
        self.opened = opened
        self.on_progress = workspace.on_progress
        self.log = context.log
        self._context = context
        self._on_line = workspace.on_line
        self._checker = workspace.checker(opened)
        self._chosen = {key.to_user_string() for key in context.selected_asset_keys}
        self._up_to_date = set() if context.run.asset_selection else _reported_lately(context)
        self._failed: list[dg.AssetCheckEvaluation] = []
        self.has_news = False  # whether anything came in that tables are derived from

    def is_asked_for(self, asset: str) -> bool:
        return asset in self._chosen

    def has_to_report(self, asset: str) -> bool:
        """Whether the asset is to be reported though it is unchanged."""
        return asset not in self._up_to_date

    def notify(self, line: str) -> None:
        """Says a line in the run's log, and to whoever watches the run."""
        self.log.info(harmless(line))
        self._on_line(line)

    def connection_with(self, table: Table) -> duckdb.DuckDBPyConnection:
        """A connection on which the table as it stands has its name."""
        return self._checker.connection_with(table)

    def check(self, table: Table, is_reported: bool) -> bool:
        """Evaluates the table's checks; returns whether it may be built on.

        Of a table that the run does not report, only what had to be computed is logged.
        """
        return self._log(evaluations(self._checker, table, is_reported))

    def check_published(self, name: str, finding: Finding) -> bool:
        """The same for the published file, of whose one check the finding is given."""
        return self._log([evaluation("warehouse", name, finding, Severity.ERROR)])

    def stop_if_a_check_failed(self) -> None:
        """Ends the step where a blocking check failed. Raises dagster.Failure with what to do."""
        if self._failed:
            raise dg.Failure(failed_checks(self._failed), allow_retries=False)

    def _log(self, found: list[dg.AssetCheckEvaluation]) -> bool:
        for one in found:
            self._context.log_event(one)
        failed = [one for one in found if one.blocking and not one.passed]
        self._failed += failed
        return not failed


def _reported_lately(context: dg.AssetExecutionContext) -> set[str]:
    """The assets that were reported since the daily schedule was last due."""
    since = croniter(SETTINGS.daily_cron, now(), ret_type=datetime).get_prev().timestamp()
    entries = [record.asset_entry for record in context.instance.get_asset_records(list(context.selected_asset_keys))]
    return {
        entry.asset_key.to_user_string()
        for entry in entries
        if entry.last_materialization and entry.last_materialization.timestamp >= since
    }
