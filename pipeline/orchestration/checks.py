"""The checks of the tables and of the published file as Dagster asset checks.

A refresh evaluates them within the step that makes the assets. Each can also be executed alone by the Execute button on
its page; the checks of one asset run in one step.
"""

from collections.abc import Iterator, Mapping

import dagster as dg

from pipeline.orchestration.resources import WorkspaceResource
from pipeline.quality.checker import Checker, checks_of
from pipeline.quality.findings import Finding
from pipeline.quality.published_file import DESCRIPTION, disagreements
from pipeline.quality.rules import Check, Severity
from pipeline.schema import TABLES
from pipeline.schema.table import Table

PUBLISHED_CHECK = "equals_the_lake"


def evaluations(checker: Checker, table: Table, is_reported: bool) -> list[dg.AssetCheckEvaluation]:
    """The evaluations of a table's checks; if the run does not report the table, only the newly computed ones."""
    return [
        evaluation(table.name, check.name, finding, check.severity)
        for check, finding in checker.findings(checks_of(table)).items()
        if is_reported or finding.computed_at is None
    ]


def evaluation(asset: str, name: str, finding: Finding, severity: Severity) -> dg.AssetCheckEvaluation:
    """The finding of a check as an event of the step that makes the asset."""
    result = _result(asset, name, finding, severity)
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(asset),
        check_name=name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
        blocking=severity is Severity.ERROR,
    )


def _result(asset: str, name: str, finding: Finding, severity: Severity) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=name,
        passed=finding.offender_count == 0 or severity is Severity.INFO,
        severity=dg.AssetCheckSeverity.ERROR if severity is Severity.ERROR else dg.AssetCheckSeverity.WARN,
        description=_message(finding),
        metadata={"offending_rows": finding.offender_count},
    )


def _message(finding: Finding) -> str | None:
    if finding.computed_at is None:
        return finding.message
    unchanged = f"not computed again: its inputs are unchanged since {finding.computed_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"{finding.message} ({unchanged})" if finding.message else unchanged


def _spec(check: Check) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        check.name, asset=check.table.name, description=check.description, blocking=check.is_blocking
    )


def _checks_of(table: Table) -> dg.AssetChecksDefinition:
    by_key: Mapping[dg.AssetCheckKey, Check] = {_spec(check).key: check for check in checks_of(table)}

    @dg.multi_asset_check(
        name=f"checks_of_{table.name}", specs=[_spec(check) for check in by_key.values()], can_subset=True
    )
    def execute(
        context: dg.AssetCheckExecutionContext, workspace: dg.ResourceParam[WorkspaceResource]
    ) -> Iterator[dg.AssetCheckResult]:
        chosen = [by_key[key] for key in by_key if key in context.selected_asset_check_keys]
        with workspace.read() as opened:
            for check, finding in workspace.checker(opened).compute(chosen).items():
                yield _result(table.name, check.name, finding, check.severity)

    return execute


@dg.asset_check(asset="warehouse", name=PUBLISHED_CHECK, description=DESCRIPTION, blocking=True)
def equals_the_lake(workspace: dg.ResourceParam[WorkspaceResource]) -> dg.AssetCheckResult:
    with workspace.read() as opened:
        return _result("warehouse", PUBLISHED_CHECK, disagreements(opened.data), Severity.ERROR)


ASSET_CHECKS = [*(_checks_of(table) for table in TABLES.values() if table.is_asset), equals_the_lake]
