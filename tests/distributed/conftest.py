"""Fixtures of the tier that needs servers of Debian's packages: it starts them, and skips where they are absent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.machines import Machines
from tests.support.postgresql import Cluster, Shop, cluster, missing


@pytest.fixture(scope="session")
def database() -> Iterator[Cluster]:
    """A running PostgreSQL cluster."""
    if reason := missing():
        pytest.skip(reason)
    with cluster() as running:
        yield running


@pytest.fixture
def shop(database: Cluster, configure: Callable[..., None]) -> Shop:
    """An empty table of purchases, which the settings name as the source of session ids."""
    made = Shop(database)
    made.empty()
    configure(submissions_url=database.url(), submissions_query=Shop.QUERY)
    return made


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configure: Callable[..., None]) -> Machines:
    """Machines that share a lake, each with a folder as its disk."""
    return Machines(tmp_path, monkeypatch, configure)
