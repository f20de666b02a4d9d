"""The documentation holds: its examples run, its messages are those of the code, and its site is whole."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.settings import PROJECT_ROOT
from tests.support.browser import CHROMIUM, chromium
from tests.support.code_blocks import blocks, program

DOCS = PROJECT_ROOT / "docs"
PAGES = [PROJECT_ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
# Without a clone: tests of the wheel run it.
TUTORIAL = DOCS / "tutorial.md"


def inbox_of(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "data" / "local" / "inbox").iterdir())


WITH_CODE = [page for page in PAGES if page != TUTORIAL and any(block.is_executed for block in blocks(page))]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_every_example_runs_as_it_stands(demo, page, tmp_path, monkeypatch):
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT_ROOT))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    before = inbox_of(tmp_path)
    for block in blocks(page):
        if not block.is_executed:
            continue
        assert block.language != "sql", "a block of SQL needs the mark, or the shell around it"
        done = subprocess.run(["bash", "-c", program(block)], capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), block.code
        if inbox_of(tmp_path) != before:
            subprocess.run([".venv/bin/phygitals", "refresh"], check=True, cwd=tmp_path)  # as the inbox sensor does
            before = inbox_of(tmp_path)


def test_a_block_without_the_mark_is_executed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```sh\nfalse\n```\n\n<!-- not executed: it needs a key -->\n```sh\nrefresh\n```\n")
    assert [(block.code, block.is_executed) for block in blocks(page)] == [("false\n", True), ("refresh\n", False)]
    assert program(next(blocks(page))).splitlines()[-1] == "false"


def messages() -> list[str]:
    """Every string of the code, with `…` for the values that are put into it."""
    found = []
    for path in sorted((PROJECT_ROOT / "pipeline").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def unknown_messages(text: str) -> list[str]:
    """The headings of a page that are messages, but not of the code."""
    known = messages()
    headings = re.findall(r"^### `(.+)`$", text, re.MULTILINE)
    return [heading for heading in headings if not any(_is(heading, message) for message in known)]


def _is(heading: str, message: str) -> bool:
    pattern = ".*".join(re.escape(piece) for piece in heading.split("…"))
    return re.fullmatch(pattern, message, re.DOTALL) is not None


def test_the_messages_of_troubleshooting_are_those_of_the_code():
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^### `", text, re.MULTILINE)) > 10
    assert unknown_messages(text) == []


def test_a_message_that_the_code_does_not_have_is_found():
    assert unknown_messages("### `the moon is full: …`\n") == ["the moon is full: …"]


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Builds the site as `make docs` does."""
    makefile = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
    (command,) = re.findall(r"\$\(BIN\)/sphinx-build (.*) docs build/docs", makefile)
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *command.split(), source, target], capture_output=True, text=True
    )


def test_a_broken_link_or_reference_fails_the_build(tmp_path):
    source = tmp_path / "docs"
    source.mkdir()
    shutil.copy(DOCS / "conf.py", source)
    (source / "index.md").write_text("# A page\n\n[gone](gone.md), [no heading](#nowhere)\n")
    done = build(source, tmp_path / "site")
    assert done.returncode != 0
    assert "gone.md" in done.stderr and "nowhere" in done.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_site_is_whole_and_is_searched_from_disk_without_a_network(tmp_path):
    done = build(DOCS, tmp_path / "site")
    assert (done.returncode, done.stderr) == (0, "")
    with chromium() as browser:
        page = browser.new_page()
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto((tmp_path / "site" / "index.html").as_uri())
        page.get_by_role("textbox", name="Search").first.fill("watermark")
        page.keyboard.press("Enter")
        page.get_by_text("Read session ids from PostgreSQL").last.wait_for()
        assert all(url.startswith(("file:", "data:")) for url in requests)
