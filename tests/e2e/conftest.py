"""Fixtures of the tests of what users start."""

from tests.support.dagster_runs import unfinished_run
from tests.support.webhook_receiver import receiver

__all__ = ["receiver", "unfinished_run"]
