"""Where runs are recorded: below DAGSTER_HOME, those of each environment in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_type_hints

import dagster as dg

from pipeline.settings import PROJECT_ROOT, EnvironmentSetting, SettingsError

_CONFIGURATION = Path(__file__).with_name("dagster.yaml")


class EnvironmentInstance(dg.DagsterInstance):
    """An instance whose files lie in a folder of the environment's name, so that no two environments mix their runs.

    `dagster.yaml` names it, and so every process of Dagster uses it. What is configured there explicitly stands.
    """

    @classmethod
    def config_schema(cls) -> Mapping[str, object]:
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, object]:
        """Where everything lies that `dagster.yaml` does not place."""
        folder = Path(base_dir) / EnvironmentSetting.name()
        folder.mkdir(exist_ok=True)
        reference = get_type_hints(dg.DagsterInstance.from_ref)["instance_ref"]  # Dagster's class has no public name
        defaults: Mapping[str, object] = reference.config_defaults(str(folder))
        return defaults


def recorded_runs() -> dg.DagsterInstance:
    """The instance in DAGSTER_HOME, the project's own unless it is set. Use it as a context manager.

    Raises SettingsError where DAGSTER_HOME is set to what Dagster does not take.
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
            f"DAGSTER_HOME is {given}; set it to the absolute path of a folder that exists, or unset it"
        )
    return dg.DagsterInstance.get()


@contextlib.contextmanager
def kept_open(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Keeps the SQLite files of the run's events open for the block; does nothing for other storages.

    Dagster opens and closes them for each event, and SQLite writes its log back into a file, and waits for the disk,
    whenever the last connection to it is closed.
    """
    with contextlib.ExitStack() as held:
        for path in _event_files(instance, run_id):
            with contextlib.suppress(sqlite3.Error):  # without it, all goes on, only slower
                connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, check_same_thread=False)
                held.enter_context(contextlib.closing(connection))
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield


def _event_files(instance: dg.DagsterInstance, run_id: str) -> list[Path]:
    folder = Path(instance.root_directory) / "history" / "runs"
    return [path for path in (folder / "index.db", folder / f"{run_id}.db") if path.exists()]
