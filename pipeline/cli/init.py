"""Makes a project folder: the files that a clone has, for a package that was installed without one."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.settings import CLONE, Settings
from pipeline.storage.layout import Layout

# Defaults that no single value states, in the words of the reference.
DEFAULTS_BY_ENVIRONMENT = {
    "api_url": "by environment",
    "requests_per_second": "25 (`local`: 0)",
    "data_dir": "`data/<env>`",
}
_WIDTH = 100
_PACKS = """\
pack_id,name,price_usd,buyback_percent,tier,fmv_low_usd,fmv_high_usd,weight,valid_from
elite-50,Elite,50,85,common,20,50,80,
elite-50,,,,rare,50,100,15,
elite-50,,,,epic,100,500,4,
elite-50,,,,legendary,500,,1,
rookie-10,Rookie,10,85,,,,,
"""


class InitError(PipelineError):
    """The project folder cannot be made."""


def make_project(folder: Path) -> list[Path]:
    """Writes the files of a project into the folder, which is made if it is missing; returns their paths.

    Raises InitError if one of them exists, before anything is written, if the folder cannot be written, or if this
    package is installed from a clone: it would not read the folder.
    """
    if CLONE:
        raise InitError(
            f"this phygitals is installed from the clone {CLONE}, which is its project folder: write .env there; "
            "nothing was written"
        )
    return write_project(folder.absolute())


def write_project(folder: Path) -> list[Path]:
    """As `make_project`, whatever the package is installed from."""
    contents = _contents(folder)
    if existing := [str(path.relative_to(folder)) for path in contents if path.exists() or path.is_symlink()]:
        raise InitError(
            f"{folder} has {', '.join(existing)} already; nothing was written: edit the existing files, or choose "
            "another folder"
        )
    for path, text in contents.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Exclusive, so that a file made in the meantime is kept.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if path.name == ".env" else 0o666)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise InitError(f"{path} cannot be written: {error.strerror}; choose another folder") from error
    return list(contents)


def _contents(folder: Path) -> dict[Path, str]:
    packaged = files("pipeline.orchestration")
    packs = Layout(folder / "data" / "production").packs_file
    return {
        folder / ".env": "\n".join(_dotenv()) + "\n",
        folder / "workspace.yaml": (packaged / "workspace.yaml").read_text(encoding="utf-8"),
        folder / "dagster_home" / "dagster.yaml": (packaged / "dagster.yaml").read_text(encoding="utf-8"),
        # Only packs.csv itself is read.
        packs.with_name(f"{packs.name}.example"): _PACKS,
    }


def _dotenv() -> Iterator[str]:
    """The lines of `.env`: each variable commented out, with its meaning and its default."""
    yield from _comment(
        "Settings of phygitals. Remove the # before a variable to set it. Environment variables take precedence."
    )
    yield from _comment("This file may hold secrets: only you should be able to read it.")
    for name, field in Settings.model_fields.items():
        described = DEFAULTS_BY_ENVIRONMENT.get(name)
        yield ""
        yield from _comment(f"{field.description}{f'. Default: {described}' if described else ''}")
        value = f"{field.default:g}" if isinstance(field.default, float) else field.default
        yield f"#PHYGITALS_{name.upper()}={'' if value is None else value}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
