"""A PostgreSQL cluster of its own, on loopback, in a temporary folder. Every login needs its password."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

from tests.support.processes import free_port

if TYPE_CHECKING:
    import psycopg

OWNER = "owner"
OWNERS_PASSWORD = "the owner's"
READER = "phygitals"
PASSWORD = "p@ss/w:rd%41-geheim"  # each character that a URL has to encode, and one that looks encoded
DATABASE = "shop"
_AS_ROOT = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
_SETTINGS = "-c fsync=off -c listen_addresses=127.0.0.1 -c max_connections=30"


def programs() -> Path | None:
    """The folder of the newest installed server's programs; None where there is none."""
    beside = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = debian[-1] if debian else Path(beside).resolve() if beside else None
    return found.parent if found else None


def missing() -> str | None:
    """The reason why no cluster can be started; None if one can."""
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed: pip install 'phygitals-pipeline[postgres]'"
    if programs() is None:
        return "PostgreSQL is not installed: apt-get install postgresql"
    if os.geteuid() == 0 and "postgres" not in {user.pw_name for user in pwd.getpwall()}:
        return "there is no user postgres, and PostgreSQL refuses to run as root"
    return None


@dataclass(frozen=True)
class Cluster:
    """A running cluster. `connect` is for the tests' own work on it."""

    folder: Path
    port: int

    def url(self, user: str = READER, password: str = PASSWORD, database: str = DATABASE) -> str:
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = DATABASE) -> psycopg.Connection[tuple[object, ...]]:
        import psycopg

        return psycopg.connect(self.url(OWNER, OWNERS_PASSWORD, database), autocommit=True)

    def run(self, *statements: str) -> None:
        """Executes statements, each in its own transaction."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def stop(self) -> None:
        _control(self.folder, "-m", "immediate", "stop")

    def start(self) -> None:
        _control(self.folder, "-o", f"-p {self.port} -k {self.folder} {_SETTINGS}", "start")


@dataclass(frozen=True)
class Shop:
    """The table of purchases that a partner has, in a cluster's database."""

    cluster: Cluster
    QUERY: ClassVar[str] = """
        SELECT session_id, created_at AS initiated_at, pack_id, price_usd, quantity, user_id, created_at AS cursor
        FROM purchases
    """

    def empty(self) -> None:
        """Makes the database as it was at first."""
        self.cluster.run(
            "DROP SCHEMA public CASCADE",
            "CREATE SCHEMA public",
            f"GRANT USAGE ON SCHEMA public TO {READER}",
            """
            CREATE TABLE purchases (
                number bigint GENERATED ALWAYS AS IDENTITY, session_id text, pack_id text, price_usd numeric,
                quantity integer, user_id text, created_at timestamptz NOT NULL DEFAULT now())
            """,
            "CREATE INDEX ON purchases (created_at)",
        )

    def add(self, *session_ids: str | None, ago: str = "0 s", price: object = None) -> None:
        """Adds purchases that were created so long ago, in one transaction."""
        with self.cluster.connect() as connection:
            connection.execute(
                "INSERT INTO purchases (session_id, price_usd, created_at) "
                "SELECT unnest(%s::text[]), %s::numeric, now() - %s::interval",
                [list(session_ids), price, ago],
            )

    @contextlib.contextmanager
    def adding(self, session_id: str) -> Iterator[None]:
        """Within the block, a purchase is in a transaction that is not committed yet."""
        with self.cluster.connect() as connection, connection.transaction():
            connection.execute("INSERT INTO purchases (session_id) VALUES (%s)", [session_id])
            yield


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """A running cluster with an empty database, and a role that may only read it."""
    folder = Path(tempfile.mkdtemp(prefix="cluster"))
    try:
        passwords = folder.with_name(f"{folder.name}.password")
        passwords.write_text(OWNERS_PASSWORD)
        passwords.chmod(0o600)
        if os.geteuid() == 0:
            for path in (folder, passwords):
                shutil.chown(path, "postgres", "postgres")
        _run("initdb", "-D", folder, "-U", OWNER, "-A", "scram-sha-256", f"--pwfile={passwords}", "-E", "UTF8", "-N")
        passwords.unlink()
        made = Cluster(folder, free_port())
        made.start()
        try:
            with made.connect("postgres") as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}".encode())
                connection.execute(f"CREATE ROLE {READER} LOGIN PASSWORD '{PASSWORD}'".encode())
            made.run(f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {READER}")
            yield made
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):  # a test may have stopped it
                made.stop()
    finally:
        shutil.rmtree(folder)


def _control(folder: Path, *arguments: str) -> None:
    _run("pg_ctl", "-w", "-s", "-D", folder, "-l", folder / "log", *arguments)


def _run(program: str, *arguments: str | Path) -> None:
    found = programs()
    assert found is not None
    command = [*(_AS_ROOT if os.geteuid() == 0 else ()), found / program, *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", env={**os.environ, "LC_ALL": "C"})
