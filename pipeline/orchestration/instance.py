"""The Dagster instance: run history in DAGSTER_HOME, with one folder for each environment."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args, get_type_hints

import dagster as dg

from pipeline.settings import PROJECT_ROOT, Environment, EnvironmentSetting, SettingsError

_CONFIGURATION = Path(__file__).with_name("dagster.yaml")


class EnvironmentInstance(dg.DagsterInstance):
    """An instance with its files in a folder of the environment's name, so that environments do not share history.

    `dagster.yaml` names this class, so every Dagster process uses it. Storage configured there takes precedence.
    """

    @classmethod
    def config_schema(cls) -> Mapping[str, object]:
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, object]:
        """The default storage, below the environment's folder."""
        folder = Path(base_dir) / EnvironmentSetting.name()
        folder.mkdir(exist_ok=True)
        reference = get_type_hints(dg.DagsterInstance.from_ref)["instance_ref"]  # Dagster's class has no public name
        defaults: Mapping[str, object] = reference.config_defaults(str(folder))
        return defaults


def recorded_runs() -> dg.DagsterInstance:
    """The instance in DAGSTER_HOME, by default the project's. Use it as a context manager.

    Raises SettingsError if DAGSTER_HOME is not the absolute path of an existing folder.
    """
    given = os.environ.get("DAGSTER_HOME")
    if not given:
        home = PROJECT_ROOT / "dagster_home"
        home.mkdir(exist_ok=True)
        if not (home / _CONFIGURATION.name).exists():
            shutil.copy(_CONFIGURATION, home)
        os.environ["DAGSTER_HOME"] = str(home)
    elif not (Path(given).is_absolute() and Path(given).is_dir()):
        raise SettingsError(
            f"DAGSTER_HOME={given!r} is refused: set it to the absolute path of an existing folder, or unset it"
        )
    return dg.DagsterInstance.get()


def upgrade(instance: dg.DagsterInstance) -> None:
    """Makes the databases of the history, or brings them to the version of this Dagster, without any output.

    Two processes that make those of one environment at the same time damage them.
    """
    with Path(os.devnull).open("w") as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        instance.upgrade()  # prints a progress bar, even for a history without runs


def upgrade_all() -> None:
    """As `upgrade`, for the history of each environment. Changes the environment of this process."""
    for environment in get_args(Environment):
        os.environ["PHYGITALS_ENV"] = environment
        with recorded_runs() as instance:
            upgrade(instance)


@contextlib.contextmanager
def kept_open(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Keeps the SQLite files of the run's events open during the block; does nothing for other storages.

    Dagster opens and closes them for each event. Whenever the last connection closes, SQLite writes its log back into
    the file and waits for the disk.
    """
    with contextlib.ExitStack() as held:
        for path in _event_files(instance, run_id):
            with contextlib.suppress(sqlite3.Error):  # only an optimization
                connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, check_same_thread=False)
                held.enter_context(contextlib.closing(connection))
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield


def _event_files(instance: dg.DagsterInstance, run_id: str) -> list[Path]:
    folder = Path(instance.root_directory) / "history" / "runs"
    return [path for path in (folder / "index.db", folder / f"{run_id}.db") if path.exists()]


if __name__ == "__main__":
    upgrade_all()
