"""Files that a user put into a working copy, where no run reads them because the lake is in an object store."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.sources.listing import listing, listing_of
from pipeline.storage.data_directory import DataDirectory

# Of this folder, runs read one file; `phygitals init` writes an example beside it.
_READ = {"reference": re.compile(r"packs\.csv(?!\.example$).*")}
_ANY = re.compile(r".*", re.DOTALL)


def files_only_here(data: DataDirectory, *folders: Path) -> dict[str, str]:
    """By path below the data directory: the reason and the remedy for each file that is not in the lake as it is here.

    A file differs from the object of its name if it has another size. Empty if the lake is the data directory.
    """
    found: dict[str, str] = {}
    for folder in folders if data.storage.is_remote else ():
        stored = {file.name: file.size for file in listing_of(data.storage.listing(folder.name)).files}
        is_read = _READ.get(folder.name, _ANY).fullmatch
        for file in listing(folder).files:
            if is_read(file.name) and stored.get(file.name) != file.size:
                found[f"{folder.name}/{file.shown}"] = (
                    f"it is only on this machine: upload it to {data.lake_url}/{folder.name}/, then remove it here"
                )
    return found
