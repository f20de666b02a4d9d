"""Fixtures of the tests that poll."""

from tests.support.strange_servers import raw_api

__all__ = ["raw_api"]
