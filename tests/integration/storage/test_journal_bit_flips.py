"""Flipped bits, torn ends and earlier versions of journals: what is damaged is named, and nothing else is lost."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.storage import raw_log
from pipeline.storage.data_directory import DataDirectory
from tests.support.bit_flips import SEED, answers, filled, flips, recovered


@pytest.fixture
def journal(tmp_path) -> tuple[DataDirectory, Path, bytes, list[tuple]]:
    data = filled(tmp_path / "data")
    (path,) = data.journal(STATUS_RESPONSES).iterdir()
    content = path.read_bytes()
    expected, lines = recovered(data)
    assert len(expected) == 36
    assert lines == []
    return data, path, content, expected


def test_a_flipped_bit_in_a_journal_costs_one_batch_at_most_and_is_named(journal, record_property):
    data, path, content, expected = journal
    outcomes: Counter[str] = Counter()
    for flipped in flips(content, random.Random(SEED), 60):
        path.write_bytes(flipped)
        found, lines = recovered(data)
        aside = path.with_name(path.name + ".damaged")
        assert [str(path) in line and aside.name in line for line in lines] == [True]
        assert set(found) < set(expected)
        assert len(found) == 27
        assert aside.read_bytes() == flipped
        assert list(data.journal(STATUS_RESPONSES).iterdir()) == [aside]
        aside.unlink()
        outcomes["named, one batch of four set aside"] += 1
    record_property(f"flips in a journal, seed {SEED}", dict(outcomes))


def test_a_torn_end_of_a_journal_costs_the_last_batch_alone(journal, record_property):
    """Cut anywhere, or never written from anywhere on, which a power cut leaves as zeros."""
    data, path, content, expected = journal
    rng = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    for number in range(40):
        at = rng.randrange(len(content))
        is_cut = number % 2 == 0
        path.write_bytes(content[:at] if is_cut else content[:at] + bytes(len(content) - at))
        found, lines = recovered(data)
        assert found == expected[: len(found)]
        assert len(found) % 9 == 0
        assert 0 <= at - len(found) / 36 * len(content) <= len(content) / 4 + 100
        assert all("was torn at its end" in line and str(path) in line for line in lines)
        assert list(data.journal(STATUS_RESPONSES).iterdir()) == []
        outcomes[f"{'cut' if is_cut else 'zeros'}, {'named' if lines else 'between two batches'}"] += 1
    record_property(f"torn journals, seed {SEED}", dict(outcomes))


def test_a_journal_of_an_earlier_version_is_sealed_and_what_cannot_be_right_in_it_is_set_aside(journal):
    data, path, content, expected = journal
    former = path.with_suffix(".arrows")
    schema = STATUS_RESPONSES.arrow_schema
    batches = [raw_log._batch(STATUS_RESPONSES, answers(8, 8 * number)) for number in range(4)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        for batch in batches:
            stream.write_batch(batch)
    whole = sink.getvalue().to_pybytes()
    former.write_bytes(whole)
    assert recovered(data) == (expected, [])
    former.write_bytes(whole[:-8])  # a killed run did not write how a stream ends
    assert recovered(data) == (expected, [])
    zeros = whole[:-8].rfind(b"s31") - 3_000
    for damaged in (
        whole[:-600],
        whole[:zeros] + bytes(len(whole) - zeros),
        whole.replace(b"Glimmerwing", b"Glimmerwinh"),
    ):
        former.write_bytes(damaged)
        found, lines = recovered(data)
        assert found == expected[: len(found)]
        assert len(found) < 36
        assert [f"{former} is damaged" in line for line in lines] == [True]
        (aside,) = data.journal(STATUS_RESPONSES).iterdir()
        assert aside.read_bytes() == damaged
        aside.unlink()
