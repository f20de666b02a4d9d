"""Several machines that share one lake: each has a folder of its own as its working copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.steps import Workspace


class Machines:
    """Machines by name, below one folder. `use` makes one of them the one that runs from then on."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, configure: Callable[..., None]) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._configure = configure

    def use(self, name: str, lake_url: str | None) -> Workspace:
        """The workspace of the machine. Without a URL it is a laptop, which keeps everything itself."""
        self._monkeypatch.delenv("PHYGITALS_LAKE_URL", raising=False)
        if lake_url:
            self._configure(lake_url=lake_url)
        self._configure(data_dir=self._folder / name)
        return Workspace.open()

    def wipe(self, name: str) -> None:
        """Loses the machine's disk."""
        shutil.rmtree(self._folder / name)
