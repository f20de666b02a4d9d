"""Fixtures of the tests of what users start."""

from tests.support.dagster_runs import unfinished_run

__all__ = ["unfinished_run"]
