"""Fixtures of the tests of publishing."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.original import Original
from tests.support.published_workspace import workspace, workspace_of_some_tables

__all__ = ["workspace", "workspace_of_some_tables"]


@pytest.fixture(scope="package")
def originals() -> Iterator[tuple[dict[str, Original], contextlib.ExitStack]]:
    """What `copy_of` builds is built once for all modules of this folder."""
    with contextlib.ExitStack() as kept:
        yield {}, kept
