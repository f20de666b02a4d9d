"""The tables' checks as Dagster asset checks."""

import dagster as dg

from pipeline.assets.resources import WorkspaceResource
from pipeline.tables.checks import CHECKS, run
from pipeline.tables.rules import Check


def _asset_check(check: Check) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=check.table.name, name=check.name, description=check.description, blocking=check.is_blocking)
    def execute(workspace: dg.ResourceParam[WorkspaceResource]) -> dg.AssetCheckResult:
        with workspace.read() as opened:
            finding = run(check, opened.data)
        return dg.AssetCheckResult(
            passed=finding.offender_count == 0,
            severity=dg.AssetCheckSeverity.ERROR if check.is_blocking else dg.AssetCheckSeverity.WARN,
            description=finding.message,
            metadata={"offending_rows": finding.offender_count},
        )

    return execute


ASSET_CHECKS = [_asset_check(check) for check in CHECKS]
