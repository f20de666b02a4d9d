"""The run launcher for Kubernetes. Needs the extra `distributed`."""

from __future__ import annotations

from typing import Any

from dagster import DagsterRun
from dagster_k8s import K8sRunLauncher

from pipeline.orchestration.command_line_runs import is_from_command_line


class KubernetesLauncher(K8sRunLauncher):
    """Dagster's launcher, but a run of the command line is not taken for dead because it has no Job.

    The lease tells whether such a run lives.
    """

    def check_run_worker_health(self, run: DagsterRun) -> Any:  # the class of the result has no public name
        found = super().check_run_worker_health(run)
        return found._replace(status=type(found.status).RUNNING) if is_from_command_line(run) else found
