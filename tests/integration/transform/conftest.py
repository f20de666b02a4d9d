"""Fixtures of the tests of transform."""

from tests.support.card_facts import connection, read_of

__all__ = ["connection", "read_of"]
