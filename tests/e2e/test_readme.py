"""The README is true: its tables list what there is, and what it shows can be run as it stands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

from pipeline.cli.main import cli
from pipeline.definitions import defs
from pipeline.schema import PUBLISHED
from pipeline.schema.publication import PUBLICATION
from pipeline.settings import PROJECT_ROOT, Settings
from pipeline.sources.columns import COLUMNS
from pipeline.sources.formats import SUFFIXES
from tests.support.workspace import rows

README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text below a heading, up to the next one."""
    return re.split(r"\n#+ ", README.split(f"# {title}\n")[1])[0]


def test_the_readme_lists_every_table_and_column_as_declared():
    for table in (*PUBLISHED, PUBLICATION):
        text = section(f"`{table.name}`")
        assert table.grain in text
        listed = re.findall(r"^\| `(\w+)` \| (.+?) \| (.*?) \| (.*?) \| (.*) \|$", text, re.MULTILINE)
        declared = [
            (c.name, c.type, c.unit or "", "key" if c.key else "required" if c.is_required else "", c.description)
            for c in table.columns
        ]
        assert listed == declared


def test_the_readme_lists_every_setting_with_its_default():
    for name, field in Settings.model_fields.items():
        variable = f"PHYGITALS_{name.upper()}"
        rows_of = [line for line in README.splitlines() if line.startswith(f"| `{variable}`")]
        assert len(rows_of) == 1, f"the table of settings has {len(rows_of)} rows of {variable}"
        if field.default is not None:
            shown = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
            assert f"`{shown}`" in rows_of[0]


def test_it_lists_every_command():
    assert sorted(re.findall(r"^\| `phygitals ([\w-]+)", section("Commands"), re.MULTILINE)) == sorted(cli.commands)


def test_it_lists_every_schedule_and_sensor():
    listed = re.findall(r"^\| `(\w+)`", section("Automation"), re.MULTILINE)
    repository = defs.get_repository_def()
    defined = [d.name for d in repository.schedule_defs] + [d.name for d in repository.sensor_defs]
    assert sorted(listed) == sorted(defined)


def test_it_lists_every_format_and_column_of_submissions():
    text = section("Submitting sessions")
    assert tuple(sorted(re.findall(r"`(\.[a-z]+)`", text.split("Columns:")[0]))) == SUFFIXES
    assert re.findall(r"`(\w+)`", text.split("Columns:")[1].split("others are ignored")[0])[: len(COLUMNS)] == list(
        COLUMNS
    )


def test_every_path_of_the_project_that_it_names_is_there():
    (folders,) = re.findall(r"\| folder \|(.*?)\n\n", README, re.DOTALL)
    listed = re.findall(r"^\| `([^`]+)`", folders, re.MULTILINE)
    named = re.findall(r"`((?:pipeline|benchmarks|notebooks|docs)/[^`]+)`", README)
    assert listed and [path for path in (*listed, *named) if not (PROJECT_ROOT / path).exists()] == []


def test_every_target_of_make_that_it_names_is_there():
    targets = set(re.findall(r"^([a-z]+):", (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE))
    assert named and named <= targets


def test_its_first_query_runs_as_it_stands(demo):
    program = README.split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    header, *lines = done.stdout.splitlines()
    assert header.split() == ["item_type", "pull_count", "buyback_median_usd", "buyback_total_usd"]
    assert {line.split()[1] for line in lines} == {name for (name,) in rows(demo, "SELECT item_type FROM item_types")}


def test_its_query_from_the_shell_runs_as_it_stands(demo):
    (command,) = re.findall(r"`\.venv/bin/phygitals (query [^`]+)`", README)
    arguments = [sys.executable, "-m", "pipeline.cli.main", *shlex.split(command)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert all(word in done.stdout for word in ("pack_id", "return_ratio", "win_rate", "elite-50"))
