"""Damaged and odd input files by the hundred: no exception leaves the intake, and good rows go through."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources.packs_file import read_packs
from pipeline.steps import Workspace
from tests.support.workspace import FOLDERS, Folder, rows

SEED = 20261128
FILES = 80
GOOD_ROWS = 5

ODD_TEXTS = [
    *("", " ", "\0", "a\0", "\ufeff", "\u00a0", "\u202e", "'", "'=1", "=1", '"', '""', ",", ";", "\t", "\\", "\x1b[2J"),
    *("session_id", "null", "NaN", "-0", "1e400", "1E-999999999", "0x10", "1_0", "\u0663", "9" * 5000, "x" * 5000),
    *("2026-01-01", "2026-02-30", "9999-12-31T23:59:59.999999-23:59", "0001-01-01T00:00:00+23:59", "20260101T99"),
    *("{}", "[]", "[" * 3000, "sNaN", "Infinity", "-1", "99999999999.99999", "1e11", "\r", "a\nb", "\U0001f600"),
]
ODD_JSON = [
    *("null", "true", "NaN", "-0", "1e400", "1e-99999999999999999999", "1" * 5000, "[]", '{"a": 1}', '"\\ud800"'),
    *('"\\u0000"', "[" * 900 + "]" * 900, "[" * 100_000, "0.1", "1.0", "123456789012345678", "", '"'),
]
ODD_TYPES: list[Callable[[], pa.Array]] = [
    lambda: pa.array([1, 10**15], pa.timestamp("s", "Nowhere/Nothing")),
    lambda: pa.array([-(2**62), 2**62], pa.timestamp("us")),
    lambda: pa.array([1, None], pa.timestamp("ns", "tzutc()")),
    lambda: pa.array([2**31 - 1, None], pa.date32()),
    lambda: pa.array([1, 2], pa.duration("ms")),
    lambda: pa.array([1, 2], pa.time64("ns")),
    lambda: pa.array([b"\xff", b"1"], pa.binary()),
    lambda: pa.array(["a", None], pa.large_string()),
    lambda: pa.array(["a", "b"], pa.dictionary(pa.int8(), pa.string())),
    lambda: pa.array([float("inf"), float("nan")]),
    lambda: pa.array([1.5, None], pa.float16()),
    lambda: pa.array([1, None], pa.uint64()),
    lambda: pa.array([True, False]),
    lambda: pa.array([None, None], pa.null()),
    lambda: pa.array([[1], None]),
    lambda: pa.array([{"a": 1}, None]),
    lambda: pa.array([10**30, None], pa.decimal256(50, 2)),
]


class Files:
    """Makes odd files of rows that are good and rows that are not."""

    def __init__(self, rng: random.Random, folder: Folder = FOLDERS[0]) -> None:
        self._rng = rng
        self._columns = folder.kind.columns
        self._good = folder.good
        self._amount = next(column for column in self._columns if column.endswith("_usd"))

    def txt(self, name: str) -> bytes:
        lines = [f"{name}-{i}" for i in range(GOOD_ROWS)] + self._rng.choices(ODD_TEXTS, k=4)
        self._rng.shuffle(lines)
        return self._rng.choice(["\n", "\r\n"]).join(lines).encode("utf-8", "surrogatepass")

    def csv(self, name: str) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(
            [self._rng.choice([c, c.upper(), f" {c} "]) for c in self._columns] + self._rng.choice([[], ["", "x", "x"]])
        )
        odd = [self._rng.choices(ODD_TEXTS, k=self._rng.randrange(1, 9)) for _ in range(4)]
        good = [
            [(self._good(f"{name}-{i}") | {self._amount: "1.5"}).get(c, "") for c in self._columns]
            for i in range(GOOD_ROWS)
        ]
        for row in [*good, *odd]:
            writer.writerow(row)
        return text.getvalue().encode()

    def jsonl(self, name: str) -> bytes:
        odd = []
        for _ in range(4):
            members = [f"{json.dumps(self._rng.choice(self._columns))}: {self._rng.choice(ODD_JSON)}" for _ in range(3)]
            odd.append("{" + ", ".join(members) + self._rng.choice(["}", "", "}}"]))
        good = [json.dumps(self._good(f"{name}-{i}") | {self._amount: 1.5}) for i in range(GOOD_ROWS)]
        return "\n".join(good + odd).encode()

    def parquet(self, name: str) -> bytes:
        good = GOOD_ROWS
        records = [*(self._good(f"{name}-{i}") for i in range(good)), {}]
        columns = {column: pa.array([record.get(column) for record in records]) for column in records[0]}
        others = [column for column in self._columns if column not in columns]
        for column in self._rng.sample(others, min(3, len(others))):
            odd = self._rng.choice(ODD_TYPES)()
            columns[column] = pa.concat_arrays([pa.nulls(good - 1, odd.type), odd])
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer, use_dictionary=self._rng.random() < 0.5)
        return buffer.getvalue()

    def damaged(self, content: bytes) -> bytes:
        """With flipped bits, or bytes that were lost, doubled or put in."""
        found = bytearray(content)
        for _ in range(self._rng.choice([1, 1, 2, 5])):
            at = self._rng.randrange(len(found))
            match self._rng.randrange(4):
                case 0 | 1:
                    found[at] ^= 1 << self._rng.randrange(8)
                case 2:
                    del found[at : at + self._rng.randrange(40)]
                case _:
                    found[at:at] = self._rng.choice([b'"', b",", b"\n", b"\0", b"\xff", bytes(found[at : at + 50])])
            if not found:
                break
        return bytes(found)


@pytest.mark.parametrize("is_damaged", [False, True], ids=["odd values", "damaged bytes"])
def test_no_exception_leaves_the_intake_and_good_rows_go_through(is_damaged, folder, record_property):
    rng = random.Random(SEED)
    make = Files(rng, folder)
    workspace = Workspace.open()
    suffixes = [s for s in ("txt", "csv", "jsonl", "parquet") if s not in folder.kind.refused_formats]
    for number in range(FILES):
        suffix = rng.choice(suffixes)
        content = getattr(make, suffix)(f"f{number}")
        folder.drop(workspace, f"f{number}.{suffix}", make.damaged(content) if is_damaged else content)
        folder.drop(workspace, f"whole{number}.csv", folder.csv(f"whole-{number}"))
    report = folder.take_in(workspace)
    outcomes = Counter("file rejected" if file.refused_because else "file read" for file in report.files)
    outcomes.update({name: report.total(name) for name in ("accepted", "duplicates", "rejected")})
    record_property(f"{folder.kind.folder}: {'damaged' if is_damaged else 'odd'} files, seed {SEED}", dict(outcomes))
    for file in report.files:
        assert file.rows_read == file.accepted + file.duplicates + file.rejected
    assert report.left == {}
    accepted = folder.ids(workspace)
    assert accepted >= {f"whole-{number}" for number in range(FILES)}
    if not is_damaged:
        read = [file for file in report.files if not file.refused_because and not file.source_file.startswith("whole")]
        wanted = {f"{file.source_file.split('.')[0]}-{i}" for file in read for i in range(GOOD_ROWS - 1)}
        assert wanted <= accepted
        assert all(file.source_file.endswith(".parquet") for file in report.files if file.refused_because)
    assert folder.take_in(workspace).files == []
    workspace.publish()
    rejected = len(folder.reasons(workspace))
    assert rows(workspace, "SELECT count(*) FROM data_issues WHERE rule LIKE 'rejected_%'") == [(rejected,)]


def test_no_exception_leaves_the_reading_of_packs(tmp_path, record_property):
    rng = random.Random(SEED)
    make = Files(rng)
    path = tmp_path / "packs.csv"
    outcomes: Counter[str] = Counter()
    for _ in range(400):
        lines = [
            "pack_id,name,Price_USD,buyback_percent,tier,fmv_low_usd,fmv_high_usd,weight,,note,note",
            "good,,10,85,,,,",
        ]
        text = io.StringIO()
        csv.writer(text).writerows(rng.choices(ODD_TEXTS, k=rng.randrange(1, 9)) for _ in range(3))
        content = ("\n".join(lines) + "\n" + text.getvalue()).encode()
        path.write_bytes(make.damaged(content) if rng.random() < 0.5 else content)
        found = read_packs(path)
        outcomes.update("accepted" if row.rejected_reason is None else "rejected" for row in found)
        assert found[0].row_number == 0 or found[0].modified_at > datetime(2020, 1, 1, tzinfo=UTC)
    record_property(f"odd and damaged files of packs, seed {SEED}", dict(outcomes))
    assert outcomes["accepted"] > 100
