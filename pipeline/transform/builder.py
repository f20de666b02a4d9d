"""Builds the derived tables from raw. Only parts with new data are rebuilt."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pipeline.errors import PipelineError
from pipeline.schema import PUBLISHED, TABLES
from pipeline.schema.table import Strategy, Table, Zone
from pipeline.storage.data_directory import DataDirectory
from pipeline.transform.build_report import BuildReport
from pipeline.transform.context import BuildContext
from pipeline.transform.shared_rebuild import SharedRebuild
from pipeline.transform.strategies import by_part, packs_file, pending, purchases, whole

_STRATEGIES: dict[Strategy, Callable[[BuildContext, BuildReport], None]] = {
    Strategy.WHOLE: whole.build,
    Strategy.WHOLE_IF_DIFFERENT: whole.build_if_different,
    Strategy.BY_PART: by_part.build,
    Strategy.BY_DAY: by_part.build,
    Strategy.BY_PERIOD: by_part.build,
    Strategy.PURCHASES: purchases.build,
    Strategy.PENDING: pending.build,
    Strategy.PACKS_FILE: packs_file.build,
}


class Builder:
    """Builds tables of one data directory as of `now`. `expire_after` is in seconds, 0 = never; `secret` is the key.

    At most `processes` share a rebuild of many parts. Use as a context manager, with the directory's lock held.
    """

    def __init__(
        self, data: DataDirectory, now: datetime, expire_after: float, secret: str | None = None, processes: int = 1
    ) -> None:
        self.now = now
        self._context = BuildContext(data, now, expire_after, secret)
        self._shared = SharedRebuild(self._context, processes)
        self._current: set[str] = set()

    def __enter__(self) -> Builder:
        self._context.__enter__()
        return self

    def __exit__(self, failed: type[BaseException] | None, *rest: Any) -> None:
        # Report the first failure only; an unsaved manifest costs one more build.
        with contextlib.suppress(PipelineError, OSError) if failed else contextlib.nullcontext():
            self._shared.end()
            self._context.manifest.save()
        self._context.__exit__(failed, *rest)

    def build(self, table: Table) -> BuildReport:
        """Updates the table and the intermediate tables that it reads.

        Damaged parts of the table count as missing. Raises StoreError if the disk or a damaged source stops the build.
        """
        context = self._context
        context.inspection.look_through(table)
        for source in (TABLES[name] for name in table.sources):
            if source.zone is Zone.STAGING and source.name not in self._current:
                self.build(source)
        derived, former = context.derivations.of(table), context.manifest.state(table)
        report = BuildReport(table, is_rederived=bool(former.parts) and derived != former.derivation)
        self._shared.before(table)
        _STRATEGIES[table.strategy](context, report)
        if derived != former.derivation:
            context.manifest.derived(table, derived)
        context.manifest.save_now_and_then()
        self._shared.after(table)
        self._current.add(table.name)
        return report

    def build_published(self) -> None:
        """Updates every published table, so that all describe the same state of the data."""
        # Tables already built by this builder are up to date, because it holds the lock.
        for table in (table for table in PUBLISHED if table.name not in self._current):
            self.build(table)

    def save(self) -> None:
        """Saves the manifest, for readers of it other than this builder. Raises DataDirectoryError."""
        self._context.manifest.save()

    def forget_all(self) -> None:
        """Makes the next builds rebuild all parts."""
        self._context.manifest.clear()
        self._context.manifest.save()
        self._current.clear()
