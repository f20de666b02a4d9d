"""Redis and PostgreSQL for a distributed deployment, and machines that use them. Skips where a server is absent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import redis
from tests.support.fleet import DEPLOY, Fleet, looking_often, new_history
from tests.support.postgresql import Cluster
from tests.support.processes import free_port
from tests.support.redis import Redis


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Redis]:
    """A running Redis server, empty."""
    if reason := redis.missing():
        pytest.skip(reason)
    folder = tmp_path / "redis"
    folder.mkdir()
    server = Redis(folder, free_port())
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def fleet(
    database: Cluster,
    broker: Redis,
    lake_url: str,
    configure: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Fleet:
    """Machines with the configuration for Celery, an empty history and an empty lake."""
    configure(lake_url=lake_url)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", new_history(database))
    monkeypatch.setenv("DAGSTER_REDIS_URL", broker.url)
    configuration = looking_often(DEPLOY / "dagster.yaml", tmp_path / "dagster.yaml")
    return Fleet(tmp_path / "machines", configuration, database, monkeypatch)
