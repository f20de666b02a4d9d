"""The licences of what users install, by the metadata of the installed packages and the lock of users."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata

from pipeline.settings import PROJECT_ROOT

LOCK = PROJECT_ROOT / "requirements.lock"

# The SPDX identifiers of licences that allow use in a service and in a product that is not open. MPL-2.0 asks for the
# source of changed files of the package itself, and we change none.
ACCEPTED = frozenset(
    {
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MPL-2.0"),
        *("PSF-2.0", "Zlib", "BSD"),
    }
)
# Packages without an SPDX expression name their licence in words. "BSD" alone does not say how many clauses it has.
_WORDS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD License": "BSD",
    "ISC License": "ISC",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}
# Read in the text of the licence, as the metadata name none.
READ_IN_TEXT = {"httpx-aiohttp": "BSD-3-Clause"}
_LONGEST_NAME = 60


class LicenceError(ValueError):
    """A package's licence is not known, or not accepted."""


def pinned(lock: str) -> dict[str, bool]:
    """Each package that a lock pins, by its name, and whether it is for Windows only."""
    found: dict[str, bool] = {}
    for name, marker in re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==[^\s;]+(?: ; (.*?))? \\$", lock, re.MULTILINE):
        found[name] = found.get(name, True) and "sys_platform == 'win32'" in marker
    return found


def licence(name: str) -> str:
    """The licence of an installed package, as SPDX identifiers joined by AND and OR.

    Raises LicenceError if the package is not installed, its metadata name no licence, or the licence is not accepted.
    """
    try:
        stated = _stated(name)
    except PackageNotFoundError:
        raise LicenceError(f"{name} is pinned in {LOCK.name}, but not installed; run `make setup`") from None
    return accepted(name, stated)


def _stated(name: str) -> str:
    about = metadata(name)
    if "License-Expression" in about:
        return about["License-Expression"]
    classifiers = [each.split(" :: ")[-1] for each in about.get_all("Classifier", []) if each.startswith("License ::")]
    text = "\n".join(about.get_all("License", []))
    # A text of several lines is the licence itself, and "Dual License" says nothing; classifiers then say which.
    if text and "\n" not in text and len(text) <= _LONGEST_NAME and text != "Dual License":
        return text
    return READ_IN_TEXT.get(name) or " OR ".join(classifiers)


def accepted(name: str, stated: str) -> str:
    """What a package states, in SPDX identifiers. Raises LicenceError unless every part of it is accepted."""
    parts = re.split(r"( AND | OR |[()])", stated)
    identifiers = [_WORDS.get(part.strip(), part) for part in parts]
    refused = [part for part in identifiers if part.strip() not in {*ACCEPTED, "AND", "OR", "(", ")", ""}]
    if refused or not stated:
        raise LicenceError(
            f"{name} has the licence {stated or 'unknown'!r}, which is not an accepted one; read its text, "
            f"then add it to docs/licences.py or do without the package"
        )
    return "".join(identifiers)


def licences() -> Iterator[str]:
    """One row per pinned package that is installed on Linux or macOS, then those of Windows."""
    packages = pinned(LOCK.read_text(encoding="utf-8"))
    yield "| package | licence |"
    yield "|---|---|"
    for name, windows_only in packages.items():
        if not windows_only:
            yield f"| `{name}` | {licence(name)} |"
    skipped = ", ".join(f"`{name}`" for name, windows_only in packages.items() if windows_only)
    yield f"\nPinned for Windows only, and not installed on Linux and macOS: {skipped}."
