"""The README and the reference pages are true: their tables list what there is."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest

from docs.reference_pages import PAGES, page, rendered
from pipeline.cli.main import cli
from pipeline.definitions import defs
from pipeline.settings import PROJECT_ROOT
from pipeline.sources.columns import COLUMNS
from pipeline.sources.formats import SUFFIXES
from tests.support.workspace import rows

DOCS = PROJECT_ROOT / "docs"
README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


# Two Pythons may have different releases of a package, with different licences of what they include.
OF_ONE_PYTHON = {"licences": [pytest.mark.one_python]}


@pytest.mark.parametrize("name", [pytest.param(name, marks=OF_ONE_PYTHON.get(name, [])) for name in PAGES])
def test_the_reference_lists_what_is_declared(name):
    text = page(name).read_text(encoding="utf-8")
    assert rendered(name, text) == text, "run `make fix`"


def test_a_page_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="the page has no"):
        rendered("tables", "# Tables\n")


def test_it_lists_every_command():
    listed = re.findall(r"^\| `phygitals ([\w-]+)", text_of("reference/commands.md"), re.MULTILINE)
    assert sorted(listed) == sorted(cli.commands)


def test_it_lists_every_schedule_and_sensor():
    listed = re.findall(r"^\| `(\w+)`", text_of("how-to/automate.md"), re.MULTILINE)
    repository = defs.get_repository_def()
    defined = [d.name for d in repository.schedule_defs] + [d.name for d in repository.sensor_defs]
    assert sorted(listed) == sorted(defined)


def test_it_lists_every_format_and_column_of_submissions():
    text = text_of("how-to/submit-sessions.md")
    assert tuple(sorted(re.findall(r"`(\.[a-z]+)`", text.split("Columns:")[0]))) == SUFFIXES
    assert re.findall(r"`(\w+)`", text.split("Columns:")[1].split("others are ignored")[0])[: len(COLUMNS)] == list(
        COLUMNS
    )


def test_every_target_of_make_that_it_names_is_there():
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    texts = [README, *(path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md"))]
    named = {name for text in texts for name in re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)}
    assert named and named <= targets


def test_the_readme_has_at_most_150_lines():
    assert len(README.splitlines()) <= 150


def test_its_first_query_prints_what_is_in_the_file(demo):
    program = README.split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    header, *lines = done.stdout.splitlines()
    shown = README.split("```text\n")[1].splitlines()[0]
    assert header.split() == shown.split() == ["item_type", "pull_count", "buyback_median_usd", "buyback_total_usd"]
    assert {line.split()[1] for line in lines} == {name for (name,) in rows(demo, "SELECT item_type FROM item_types")}


def test_its_query_from_the_shell_runs_as_it_stands(demo):
    (command,) = re.findall(r"`\.venv/bin/phygitals (query [^`]+)`", README)
    arguments = [sys.executable, "-m", "pipeline.cli.main", *shlex.split(command)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert all(word in done.stdout for word in ("pack_id", "return_ratio", "win_rate", "elite-50"))
