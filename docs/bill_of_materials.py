"""Compares a bill of materials with the lock of users: `python -m docs.bill_of_materials build/sbom.json`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from docs.licences import LOCK


def difference(bill: dict[str, Any], lock: str) -> str | None:
    """How a bill of materials in the format CycloneDX departs from the lock, or from the next bill of the same lock."""
    listed = {(each["name"], each["version"]) for each in bill["components"]}
    pinned = set(re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;]+)", lock, re.MULTILINE))
    if missing := pinned - listed:
        return f"{_named(missing)} is pinned and not listed"
    if unknown := listed - pinned:
        return f"{_named(unknown)} is listed and not pinned"
    if changing := {"serialNumber", "timestamp"} & {*bill, *bill["metadata"]}:
        return f"{min(changing)} differs in each run"
    return None


def _named(packages: set[tuple[str, str]]) -> str:
    return "=".join(min(packages))


if __name__ == "__main__":
    path = Path(sys.argv[1])
    problem = difference(json.loads(path.read_text(encoding="utf-8")), LOCK.read_text(encoding="utf-8"))
    if problem:
        sys.exit(f"{path} does not agree with {LOCK.name}: {problem}")
