"""The tables' checks, and the published file's, as Dagster asset checks."""

import dagster as dg

from pipeline.assets.resources import WorkspaceResource
from pipeline.tables.checks import CHECKS, Finding, run
from pipeline.tables.rules import Check, Severity
from pipeline.warehouse.agreement import DESCRIPTION, disagreements


def _result(finding: Finding, severity: Severity) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=finding.offender_count == 0 or severity is Severity.INFO,
        severity=dg.AssetCheckSeverity.ERROR if severity is Severity.ERROR else dg.AssetCheckSeverity.WARN,
        description=finding.message,
        metadata={"offending_rows": finding.offender_count},
    )


def _asset_check(check: Check) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=check.table.name, name=check.name, description=check.description, blocking=check.is_blocking)
    def execute(workspace: dg.ResourceParam[WorkspaceResource]) -> dg.AssetCheckResult:
        with workspace.read() as opened:
            return _result(run(check, opened.data), check.severity)

    return execute


@dg.asset_check(asset="warehouse", description=DESCRIPTION, blocking=True)
def holds_what_the_lake_holds(workspace: dg.ResourceParam[WorkspaceResource]) -> dg.AssetCheckResult:
    with workspace.read() as opened:
        return _result(disagreements(opened.data), Severity.ERROR)


ASSET_CHECKS = [*(_asset_check(check) for check in CHECKS), holds_what_the_lake_holds]
