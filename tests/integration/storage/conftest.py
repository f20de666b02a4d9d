"""Fixtures of the tests of storage."""

from tests.support.compaction import workspace

__all__ = ["workspace"]
