"""What `copy_of` has built: the original of the copies that tests get."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.simulator.server import Simulator


@dataclass(frozen=True)
class Original:
    """A data directory and a run history as they were built, where tests find the data, and the simulator."""

    kept: Path
    home: Path
    root: Path
    simulator: Simulator
    url: str
