"""Reading the packs file: its rows and columns, and what is refused with what to do."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.settings import PROJECT_ROOT
from pipeline.sources.packs_file import PackRow, read_packs
from tests.support.packs_file import HEADER


def read(folder: Path, *lines: str, header: str = HEADER) -> list[PackRow]:
    path = folder / "packs.csv"
    path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    return read_packs(path)


def test_a_row_a_tier_is_read_with_the_percentage_as_a_share(tmp_path):
    first, second, third = read(
        tmp_path, "p,Rookie,10,85,low,0,20,80", "p,,,,high,20,,20.5", 'q,"Elite, new",25.00005,0.9,,,,', "", " , "
    )
    assert (first.pack_id, first.name, first.price_usd, first.buyback_share) == ("p", "Rookie", Decimal(10), 0.85)
    assert (first.tier, first.fmv_low_usd, first.fmv_high_usd, first.weight) == ("low", Decimal(0), Decimal(20), 80)
    assert (second.fmv_high_usd, second.weight, second.row_number) == (None, 20.5, 3)
    assert (third.name, third.price_usd, third.buyback_share, third.tier) == (
        "Elite, new",
        Decimal("25.0001"),
        0.9,
        None,
    )
    assert all(row.rejected_reason is None for row in (first, second, third))


def test_columns_come_in_any_order_and_others_are_ignored(tmp_path):
    (row,) = read(tmp_path, "x,5,p", header="colour, price_usd ,pack_id")
    assert (row.pack_id, row.price_usd, row.name) == ("p", Decimal(5), None)


def test_the_guide_s_example_is_taken_as_it_stands(tmp_path):
    guide = (PROJECT_ROOT / "docs" / "how-to" / "describe-packs.md").read_text(encoding="utf-8")
    example = guide.split("```text\n")[1].split("```")[0]
    header, *lines = example.splitlines()
    found = read(tmp_path, *lines, header=header)
    assert [row.rejected_reason for row in found] == [None] * len(lines)
    assert [(row.pack_id, row.buyback_share) for row in found if row.buyback_share] == [
        ("elite-50", 0.85),
        ("rookie-10", 0.85),
    ]


def test_no_file_is_no_rows(tmp_path):
    assert read_packs(tmp_path / "packs.csv") == []


ONE = "p,Rookie,10,85,low,0,20,80"

BAD_ROWS = {
    ",x,1,,,,,": "pack_id is empty; name the pack as submissions do",
    "q,,$5,,,,,": "price_usd is not a number from 0 to below 10^11; use digits and a decimal point only",
    "q,,-1,,,,,": "price_usd is not a number",
    "q,,1_0,,,,,": "price_usd is not a number",
    "q,,NaN,,,,,": "price_usd is not a number",
    "q,,1e11,,,,,": "price_usd is not a number",
    "q,,,1e-400,,,,": "buyback_percent is not a number from 0.01 to 100",
    "q,,,101,,,,": "buyback_percent is not a number from 0.01 to 100",
    "q,,,,t,0,5,-1": "weight is not a number",
    "q,,,,t,0,5,": "the tier has no weight; fill in all of tier, fmv_low_usd, fmv_high_usd, weight, or none",
    "q,,,,,,5,": "the tier has no tier and fmv_low_usd and weight",
    "q,,,,t,5,5,1": "fmv_high_usd is not above fmv_low_usd; correct the bounds",
    "p,,11,,,,,": "price_usd differs from that of row 2, which counts; give it once, or the same in each row",
    "p,,,90,,,,": "buyback_percent differs from that of row 2",
    "p,Other,,,,,,": "name differs from that of row 2",
    "p,,,,low,20,30,1,31.01.2026": "valid_from is not a day; write it like 2026-01-31",
    "p,,,,low,20,30,1": "the tier repeats that of row 2, which counts; give each tier of a pack once",
    "p,,,,high,19.99,,1": "its values overlap with those of row 2, which counts; end one tier where the next begins",
}


@pytest.mark.parametrize(("line", "reason"), BAD_ROWS.items())
def test_a_bad_row_is_refused_with_what_to_do_and_the_others_stand(line, reason, tmp_path):
    good, bad, after = read(tmp_path, ONE, line, "z,,7,,,,,")
    assert (good.rejected_reason, after.rejected_reason, after.price_usd) == (None, None, Decimal(7))
    assert bad.row_number == 3
    assert str(bad.rejected_reason).startswith(reason)
    assert (bad.price_usd, bad.tier) == (None, None)


BAD_FILES = {
    b"": "its first line lacks the column pack_id",
    b"id;price\nx;1\n": "its first line lacks the column pack_id",
    b"pack_id,pack_id\nx,1\n": "its first line lacks the column pack_id or repeats a column",
    b"pack_id,name\nx,\xff\n": "line 2 is not UTF-8; save the file as CSV in UTF-8",
    b'pack_id,name\nx,"a" b\n': "line 2 has broken quoting",
    b"pack_id,price_usd\nx,1,250\n": "line 2 has 3 fields, the first line 2; quote values that contain commas",
}


@pytest.mark.parametrize(("content", "reason"), BAD_FILES.items())
def test_a_file_that_cannot_be_taken_as_a_whole_is_refused_as_a_whole(content, reason, tmp_path):
    (tmp_path / "packs.csv").write_bytes(content)
    (row,) = read_packs(tmp_path / "packs.csv")
    assert row.row_number == 0
    assert str(row.rejected_reason).startswith(reason)
