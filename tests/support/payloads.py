"""Items as the API and its vendors send them: made up in the repository, and real ones where they are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

MADE_UP = Path(__file__).resolve().parents[1] / "payloads"
# Real items are not ours to publish. A checkout that has them beside it uses them in addition.
REAL = Path(__file__).resolve().parents[3] / "shared" / "corpus"

FOLDERS = [pytest.param(MADE_UP, id="made up"), *([pytest.param(REAL, id="real")] if REAL.exists() else [])]
NAMES = ("card_items", "das_items", "gap_items")


def lines_of(folder: Path, name: str) -> list[str]:
    """The lines of a file, each an object with one item as its member `nft`."""
    return (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
