"""The figures of selected pulls are those of the published tables, and each question is answered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import pytest

from pipeline.explore.edition import current_edition
from pipeline.explore.figures import figures, group_count
from pipeline.explore.listing import ROWS_A_PAGE, pulls, pulls_as_csv
from pipeline.explore.questions import QUESTIONS
from pipeline.explore.rows import Rows
from pipeline.explore.selection import UNKNOWN, Selection, options
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from tests.support.answers import fulfilled
from tests.support.workspace import drop, records, refresh, rows

SAME = (
    *("spend_usd", "buyback_total_usd", "return_ratio", "win_rate", "win_rate_low", "win_rate_high", "multiple_median"),
    *("multiple_median_low", "multiple_median_high", "multiple_mean_capped_5x", "multiple_mean_capped_5x_low"),
    *("multiple_mean_capped_5x_high", "quoted_pull_count"),
)
UNUSUAL: dict[str, list[dict]] = {
    "free": [{"id": "a", "buyback_price": 3}],
    "unquoted": [{"id": "b"}, {"id": "c", "buyback_price": 0}],
    "even": [{"id": "d", "buyback_price": "3.3333"}, {"id": "e", "buyback_price": "3.3334"}],
    "formula": [{"id": "f", "buyback_price": 1, "content": {"metadata": {"name": "+1"}}}],
}


@pytest.fixture
def workspace(copy_of):
    """Two packs of 150 sessions each, one of few, sessions without a pack, and unusual ones."""

    def build(workspace: Workspace) -> None:
        lines = [f"s{i},{('elite-50', 'rookie-10')[i % 2]},{(50, 10)[i % 2]},u{i % 7}" for i in range(300)]
        lines += [*(f"few{i},few,10,u1" for i in range(5)), *(f"none{i},,,u{i}" for i in range(5))]
        lines += ["free,few,0,u2", "unquoted,few,10,u2", "even,few,6.6666,u2", "formula,few,10,u3"]
        drop(workspace, "a.csv", "\n".join(["session_id,pack_id,price_usd,user_id", *lines, ""]))
        refresh(workspace)

    scripts = {name: [fulfilled(name, *items)] for name, items in UNUSUAL.items()}
    return copy_of("figures", lambda: Simulator(delay_scale=0, hold=0, scripts=scripts), build)


def chosen(row: dict[str, object], names: Iterable[str]) -> dict[str, float]:
    """The figures of these names; -1 is unknown."""
    return {name: -1.0 if row[name] is None else float(str(row[name])) for name in names}


def near(row: dict[str, object], names: Iterable[str]) -> object:
    """The figures, whatever the order in which doubles were added."""
    return pytest.approx(chosen(row, names), rel=1e-9)


def by_group(found: Rows) -> dict[object, dict[str, object]]:
    return {row[0]: dict(zip(found.names, row, strict=True)) for row in found.rows}


def test_the_figures_of_a_pack_are_those_of_pack_economics(workspace):
    found = by_group(figures(current_edition(workspace.data).cursor(), Selection(), "pack"))
    published = records(workspace, "FROM pack_economics")
    assert {row["pack_id"] for row in published} == found.keys() - {None}
    for row in published:
        names = [name for name in SAME if name != "buyback_total_usd"]
        assert chosen(found[row["pack_id"]], names) == near(row, names), row["pack_id"]
    assert sum(row["multiple_mean_capped_5x_low"] is not None for row in published) == 2
    assert any(row["multiple_median_low"] is None for row in published)


def test_the_figures_of_a_week_are_those_of_pack_weeks(workspace):
    selection = Selection(values={"pack_id": ("elite-50",)})
    found = by_group(figures(current_edition(workspace.data).cursor(), selection, "week"))
    published = records(workspace, "FROM pack_weeks WHERE pack_id = 'elite-50'")
    names = [name for name in SAME if published and name in published[0]]
    assert len(names) >= 8
    for row in published:
        assert chosen(found[row["week_start_date"]], names) == near(row, names)


def test_the_quotes_of_a_type_are_those_of_item_types(workspace):
    found = by_group(figures(current_edition(workspace.data).cursor(), Selection(), "item type"))
    for row in records(workspace, "FROM item_types"):
        group = found[None if row["item_type"] == "unknown" else row["item_type"]]
        names = ("pull_count", "priced_pull_count", "buyback_total_usd", "buyback_median_usd", "multiple_median")
        assert chosen(group, names) == near(row, names), row["item_type"]


@pytest.mark.parametrize(
    ("selection", "condition"),
    [
        (Selection(), "true"),
        (Selection(user_id="u1"), "user_id = 'u1'"),
        (Selection(values={"pack_id": ("few", None)}), "pack_id = 'few' OR pack_id IS NULL"),
        (Selection(values={"pack_id": (None,)}), "pack_id IS NULL"),
        (Selection(values={"item_type": ("ebay", "alt"), "pack_id": ()}), "item_type IN ('ebay', 'alt')"),
        (Selection(values={"grader": ("PSA",), "pack_id": ("elite-50",)}), "grader = 'PSA' AND pack_id = 'elite-50'"),
        (Selection(first_day=dt.date(2999, 1, 1)), "false"),
        (Selection(last_day=dt.date(2000, 1, 1)), "false"),
        (Selection(values={"set_name": ("'; DROP TABLE pulls --",)}), "false"),
    ],
)
def test_a_selection_has_the_pulls_that_its_filters_name(selection, condition, workspace):
    cursor = current_edition(workspace.data).cursor()
    ((count,),) = rows(
        workspace,
        f"SELECT count(*) FROM (SELECT pulls.*, grader FROM pulls LEFT JOIN items USING (item_id)) WHERE {condition}",
    )
    assert [row[1] for row in figures(cursor, selection).rows] == ([count] if count else [])
    page = pulls(cursor, selection, ("buyback_price_usd", True), 1)
    assert page.note.startswith(f"{count} pulls")
    assert len(page.rows.rows) == min(count, ROWS_A_PAGE)


def test_pages_of_the_pulls_go_on_where_the_former_ends(workspace):
    cursor = current_edition(workspace.data).cursor()
    ((count,),) = rows(workspace, "SELECT count(*) FROM pulls")
    last = -(-count // ROWS_A_PAGE)
    found = [row for at in range(last) for row in pulls(cursor, Selection(), ("multiple", False), at + 1).rows.rows]
    multiples = [row[3] for row in found]
    known = [value for value in multiples if value is not None]
    assert len({row[-2:] for row in found}) == count
    assert multiples == sorted(known) + [None] * (count - len(known))
    assert (
        pulls(cursor, Selection(), ("multiple", False), last + 5).rows
        == pulls(cursor, Selection(), ("multiple", False), last).rows
    )


def test_groups_beyond_those_shown_are_counted(workspace):
    cursor = current_edition(workspace.data).cursor()
    assert group_count(cursor, Selection(), "pack") == 4
    assert len(figures(cursor, Selection(), "pack").rows) == 4


def test_a_received_value_that_looks_like_our_word_remains_apart(workspace):
    drop(workspace, "b.csv", f"session_id,pack_id,price_usd\nlike,{UNKNOWN},10\n")
    refresh(workspace)
    values = options(current_edition(workspace.data).cursor()).values["pack"]
    assert sorted(values.values(), key=str) == sorted([None, UNKNOWN, "elite-50", "few", "rookie-10"], key=str)


def test_the_exported_pulls_are_all_of_them_without_formulas(workspace):
    cursor = current_edition(workspace.data).cursor()
    lines = pulls_as_csv(cursor, Selection(), ("name", True), workspace.data.memory_limit).decode().splitlines()
    assert len(lines) == 1 + rows(workspace, "SELECT count(*) FROM pulls")[0][0]
    assert any(",'+1," in line for line in lines)


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_question_is_answered_in_one_query_of_the_published_tables(name, workspace):
    found = records(workspace, QUESTIONS[name].sql)
    if name in ("stuck", "price_changes", "value_trend"):
        assert found == []  # nothing is pending, no item was pulled twice, and no day is over
    else:
        assert found


def test_an_edition_stays_as_it_was_while_another_is_published(workspace):
    former = current_edition(workspace.data)
    assert current_edition(workspace.data) is former
    query = "SELECT count(*) FROM purchases"
    before = former.cursor().execute(query).fetchall()
    drop(workspace, "c.txt", "later\n")
    refresh(workspace)
    assert former.is_outdated()
    newer = current_edition(workspace.data)
    assert not newer.is_outdated()
    assert newer.cursor().execute(query).fetchall() == newer.cursor_for_users().execute(query).fetchall() != before
    assert former.cursor().execute(query).fetchall() == former.cursor_for_users().execute(query).fetchall() == before
