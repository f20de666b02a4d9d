"""Where runs are recorded."""

from __future__ import annotations

import os

import dagster as dg

from pipeline.settings import PROJECT_ROOT


def recorded_runs() -> dg.DagsterInstance:
    """The instance in DAGSTER_HOME, the project's own unless it is set. Use it as a context manager."""
    os.environ.setdefault("DAGSTER_HOME", str(PROJECT_ROOT / "dagster_home"))
    return dg.DagsterInstance.get()
