"""The documents name files that exist, and are whole."""

from __future__ import annotations

import re

import pytest

from pipeline.settings import PROJECT_ROOT

DOCUMENTS = [
    *(PROJECT_ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *(PROJECT_ROOT / "docs").rglob("*.md"),
]
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")
_NAMED = re.compile(r"`((?:pipeline|tests|docs|benchmarks|deploy|notebooks)/[\w./-]+)`")


def broken(text: str, folder) -> list[str]:
    """The links and paths of a document in a folder that lead nowhere."""
    links = [link for link, _ in _LINK.findall(text) if not (folder / link).exists()]
    return links + [path for path in _NAMED.findall(text) if not (PROJECT_ROOT / path).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_every_link_and_every_path_leads_to_a_file(document):
    assert broken(document.read_text(encoding="utf-8"), document.parent) == []


def test_a_link_and_a_path_that_lead_nowhere_are_found():
    assert broken("[a](gone.md#x) `pipeline/gone.py` [b](README.md) `pipeline/steps.py`", PROJECT_ROOT) == [
        "gone.md",
        "pipeline/gone.py",
    ]


def conflicts(text: str) -> list[str]:
    """The marks of a merge that was not finished."""
    return re.findall(r"^(?:<{7}|>{7}) .*$", text, re.MULTILINE)


@pytest.mark.parametrize("document", [*DOCUMENTS, PROJECT_ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_no_document_has_the_marks_of_an_unfinished_merge(document):
    assert conflicts(document.read_text(encoding="utf-8")) == []


def test_the_marks_of_an_unfinished_merge_are_found():
    marks = [f"{character * 7} a branch" for character in "<>"]
    assert conflicts("\n".join([marks[0], "one", "=" * 7, "other", marks[1]])) == marks
