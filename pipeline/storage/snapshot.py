"""Copies the raw data received until a past moment into a data directory of its own."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from datetime import datetime
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.schema.raw import RECEIVED
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.missing_columns import with_missing_columns
from pipeline.storage.objects import Store


def copy_raw(source: Store, target: Store, until: datetime) -> None:
    """Copies the raw rows received up to and including `until`. Objects keep their names and row order."""
    latest = pa.scalar(until, pa.timestamp("us", "UTC"))
    for table, received in RECEIVED.items():
        for part, paths in source.parts(table).items():
            source.verify(source.fetched(paths))
            for path in paths:
                batches = (b.filter(pc.less_equal(b[received], latest)) for b in source.read(path))
                rows = (batch for batch in batches if batch.num_rows)
                first = next(rows, None)
                if first is not None:
                    with target.writer(table, part, PurePosixPath(path).stem) as writer:
                        for batch in itertools.chain([first], rows):
                            writer.write(with_missing_columns(table, batch))


def copy_reference(source: DataDirectory, target: DataDirectory) -> None:
    """Copies the current packs file, which has no history.

    An unreadable file is left out; the source's own tables report it.
    """
    with contextlib.suppress(OSError):
        content = source.current(source.packs_file).read_bytes()
        target.packs_file.parent.mkdir(exist_ok=True)
        target.packs_file.write_bytes(content)
        shutil.copystat(source.packs_file, target.packs_file)
