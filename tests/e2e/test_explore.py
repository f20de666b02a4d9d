"""`phygitals explore` in a real Chromium: filters, sorting, SQL, a newer publication, and received names and links.

Needs Chromium, as `test_browser.py` does. `PHYGITALS_SCREENSHOTS` names a folder for pictures.
"""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.explore.questions import QUESTIONS
from pipeline.simulator.server import Simulator
from pipeline.simulator.service import serve
from pipeline.steps import Workspace
from tests.support.answers import fulfilled
from tests.support.browser import CHROMIUM, chromium
from tests.support.processes import started, wait_until
from tests.support.workspace import KEY, drop, refresh, rows

if TYPE_CHECKING:
    from playwright.sync_api import Dialog, Locator, Page, Route

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: run `make setup`")
pytest.importorskip("marimo", reason="marimo is not installed: run `make setup`")

if CHROMIUM is None:
    pytest.skip("no Chromium on this machine: install Debian's package `chromium`", allow_module_level=True)

PICTURES = os.environ.get("PHYGITALS_SCREENSHOTS")
GOOD_LINK = "https://images.example/card.png"
# The name of an item and its image link, by the quote that finds the pull.
HOSTILE = {
    9001: ('<img src="https://evil.example/a.png" onerror="alert(1)">', "http://evil.example/plain.png"),
    9002: ("https://evil.example/b.png", "javascript:alert(2)"),
    9003: ("<script>alert(3)</script>", "https://evil.example@images.example/c.png"),
    9004: ("=HYPERLINK(1)", "data:image/svg+xml,<svg onload='alert(4)'/>"),
    9005: ("a good one", GOOD_LINK),
}


@dataclass
class Explored:
    """`phygitals explore` on a published file of 60 ordinary sessions and the hostile ones."""

    url: str
    workspace: Workspace


@dataclass
class Seen:
    """What the browser asked of others than the server, and what went wrong in the page."""

    foreign: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def explored(tmp_path_factory) -> Iterator[Explored]:
    folder = tmp_path_factory.mktemp("explored")
    scripts = {
        f"h{quote}": [fulfilled(f"h{quote}", {"id": f"i{quote}", "buyback_price": quote, **content(name, link)})]
        for quote, (name, link) in HOSTILE.items()
    }
    simulator = Simulator(delay_scale=0, hold=0, scripts=scripts, key=KEY)
    with serve(simulator) as url, pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith("PHYGITALS_")]:
            patch.delenv(variable)
        settings = {
            "ENV": "production",
            "API_URL": url,
            "API_KEY": KEY,
            "REQUESTS_PER_SECOND": "0",
            "POLL_BUDGET": "20",
        }
        for name, value in {**settings, "DATA_DIR": str(folder / "data")}.items():
            patch.setenv(f"PHYGITALS_{name}", value)
        workspace = Workspace.open()
        packs = ("elite-50,50", "rookie-10,10", "legend-250,250")
        ordinary = "".join(f"s{i},{packs[i % 3]}\n" for i in range(60))
        drop(workspace, "a.csv", f"session_id,pack_id,price_usd\n{ordinary}" + "".join(f"{h},odd,1\n" for h in scripts))
        refresh(workspace)
        log = folder / "explore.log"
        with started([sys.executable, "-m", "pipeline.cli.main", "explore", "--port", "0"], log):
            wait_until(lambda: "http://" in log.read_text(), "the page is served")
            found = re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())
            assert found
            yield Explored(found[0], workspace)


def content(name: str, link: str) -> dict:
    return {"content": {"metadata": {"name": name, "image": link}}}


@pytest.fixture(scope="module")
def opened(explored) -> Iterator[tuple[Page, Seen]]:
    """The page in a browser that records what it would load from elsewhere, and loads nothing."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1200})
        page.set_default_timeout(60_000)
        playwright.expect.set_options(timeout=60_000)
        seen = Seen()

        def answer(route: Route) -> None:
            if route.request.url.startswith(explored.url):
                route.continue_()
            else:
                seen.foreign.append(route.request.url)
                route.abort()

        page.route("**/*", answer)

        def dismiss(dialog: Dialog) -> None:
            seen.dialogs.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", dismiss)
        page.on("console", lambda message: seen.refused.append(message.text) if "Security" in message.text else None)
        yield page, seen


@pytest.fixture
def page(opened, explored) -> Iterator[Page]:
    """The page, maybe as the test before has left it. Nothing may have been loaded from elsewhere."""
    page, seen = opened
    for list_of_seen in (seen.foreign, seen.dialogs, seen.refused):
        list_of_seen.clear()
    if page.url != explored.url:
        open_anew(page, explored)
    yield page
    assert seen.dialogs == []
    assert seen.refused == []
    assert set(seen.foreign) <= {GOOD_LINK}


def open_anew(page: Page, explored: Explored) -> None:
    """Shows the page as somebody finds it who has just opened it; its server takes seconds for each visitor."""
    page.goto(explored.url)
    playwright.expect(page.locator(".rows table")).to_be_visible()


@pytest.fixture
def seen(opened: tuple[Page, Seen]) -> Seen:
    return opened[1]


@pytest.fixture
def picture(page) -> Callable[[str], None]:
    """Keeps a picture of the page in three widths, where somebody asked for pictures."""

    def keep(name: str) -> None:
        for width in (360, 768, 1280) if PICTURES else ():
            page.set_viewport_size({"width": width, "height": 1200})
            page.screenshot(path=Path(PICTURES or "") / f"explore-{name}-{width}.png", animations="disabled")

    return keep


def tile(page: Page, name: str) -> Locator:
    """The value of a figure of the selected pulls."""
    return page.locator(".tile").filter(has_text=name).first.locator(".value")


def show(page: Page, view: str) -> None:
    page.get_by_role("radio", name=view).click()


def column(page: Page, name: str) -> list[str]:
    """The cells of a table's column."""
    heads = [" ".join(text.replace("↕", "").split()) for text in page.locator(".rows th").all_inner_texts()]
    at = next(i for i, head in enumerate(heads) if head.startswith(name))
    return page.locator(f".rows td:nth-child({at + 1})").all_inner_texts()


def test_the_first_view_has_the_figures_of_all_pulls_and_fits_every_width(page, explored, picture):
    open_anew(page, explored)
    ((count,),) = rows(explored.workspace, "SELECT count(*) FROM pulls")
    playwright.expect(tile(page, "Pulls")).to_have_text(f"{count:,}")
    playwright.expect(page.locator(".tile").filter(has_text="Win rate")).to_contain_text(re.compile("95 %: .*% to .*%"))
    found = rows(explored.workspace, "SELECT pack_id FROM pulls GROUP BY pack_id ORDER BY count(*) DESC, pack_id")
    assert sorted(column(page, "pack")) == sorted(pack for (pack,) in found)
    for width in (360, 768, 1280):
        page.set_viewport_size({"width": width, "height": 1200})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    picture("figures")


def test_a_browser_that_kept_the_page_shows_it_again(page, explored):
    browser = page.context.browser
    assert browser
    another = browser.new_page()  # without the interception of requests, which switches the browser's cache off
    another.set_default_timeout(60_000)
    open_anew(another, explored)
    another.reload()
    playwright.expect(another.locator(".rows table")).to_be_visible()
    another.close()


def test_a_table_is_sorted_by_the_button_of_a_column_and_the_other_way_by_the_next_press(page, explored):
    show(page, "Figures")
    cells = page.locator(".rows tbody td:first-child")
    sort = page.locator(".rows th").filter(has_text="spend usd").get_by_role("button")
    query = "SELECT pack_id FROM pack_economics ORDER BY spend_usd"
    expected = [pack for (pack,) in rows(explored.workspace, query)]
    sort.click()
    playwright.expect(cells).to_have_text(expected[::-1])
    sort.click()
    playwright.expect(cells).to_have_text(expected)


def test_a_table_is_exported_as_csv_without_formulas(page):
    show(page, "Pulls")
    playwright.expect(page.get_by_role("button", name="Image").first).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").or_(page.get_by_role("link", name="CSV")).first.click()
    with Path(download.value.path()).open(encoding="utf-8", newline="") as file:
        names = {row["name"] for row in csv.DictReader(file)}
    assert "'=HYPERLINK(1)" in names
    assert HOSTILE[9001][0] in names


def test_received_names_are_shown_as_text_and_only_an_https_image_is_loaded_and_only_on_request(page, seen, picture):
    show(page, "Pulls")
    images = page.get_by_role("button", name="Image")
    playwright.expect(images.first).to_be_visible()
    table = page.locator(".rows table")
    for name, _ in HOSTILE.values():
        playwright.expect(table.get_by_text(name, exact=True)).to_be_visible()
    assert table.locator("img, a, script, iframe").count() == 0
    for name, link in HOSTILE.values():
        row = table.locator("tr").filter(has_text=name)
        button = row.get_by_role("button", name="Image")
        assert button.is_disabled() == (link != GOOD_LINK), link
    assert seen.foreign == []
    table.locator("tr").filter(has_text="a good one").get_by_role("button", name="Image").click()
    frame = page.frame_locator("iframe.picture")
    playwright.expect(frame.locator("img")).to_have_attribute("src", GOOD_LINK)
    wait_until(lambda: seen.foreign == [GOOD_LINK], "the browser asks for the image")
    picture("pulls")


REFUSED = {
    "COPY (SELECT 1) TO '{file}.wal'": "COPY is not allowed in queries",
    "FROM read_text('/etc/hostname')": "read_text() is not allowed in queries",
    "FROM 'https://evil.example/rows.parquet'": "rows.parquet",
    "CREATE TABLE memory.made AS SELECT 1": "use CREATE TEMP",
    "FROM explored.pulls": 'schema "explored" does not exist',
    "SELECT 1; SELECT 2": "run one query at a time",
    "SELECT nothing FROM pulls": 'Referenced column "nothing" not found',
}


def test_sql_that_does_more_than_read_the_tables_is_refused(page, explored):
    for sql, words in REFUSED.items():
        run_sql(page, sql.format(file=explored.workspace.data.warehouse))
        playwright.expect(page.locator(".refusal")).to_contain_text(words)
    assert not explored.workspace.data.warehouse.with_suffix(".duckdb.wal").exists()


def run_sql(page: Page, sql: str) -> None:
    show(page, "SQL")
    page.get_by_role("textbox", name="SQL").fill(sql)
    page.get_by_role("button", name="Run").click()


def test_sql_that_reads_is_answered(page, picture):
    run_sql(page, "SELECT pack_id, 41 + 1 AS answer, '<b>bold</b>' AS \"<i>name</i>\" FROM pack_economics ORDER BY 1")
    playwright.expect(page.locator(".rows th")).to_have_text(["pack id", "answer", "<i>name</i>"])
    assert column(page, "answer") == ["42"] * 4
    assert column(page, "<i>name</i>") == ["<b>bold</b>"] * 4
    picture("sql")


def test_each_question_is_answered_by_its_query(page, picture):
    show(page, "Questions")
    for question in QUESTIONS.values():
        page.get_by_role("combobox", name="Question").select_option(label=question.title)
        playwright.expect(page.get_by_role("heading", name=question.title)).to_be_visible()
    playwright.expect(page.locator(".rows tbody tr").first).to_be_visible()
    picture("questions")


def test_a_filter_changes_the_figures_and_the_tables(page, explored):
    open_anew(page, explored)
    page.get_by_label("Pack", exact=True).click()
    page.get_by_role("option", name="elite-50").click()
    page.keyboard.press("Escape")
    ((count,),) = rows(explored.workspace, "SELECT count(*) FROM pulls WHERE pack_id = 'elite-50'")
    playwright.expect(tile(page, "Pulls")).to_have_text(str(count))
    playwright.expect(page.locator(".rows tbody tr")).to_have_count(1)
    assert column(page, "pack") == ["elite-50"]


def test_a_newer_publication_is_announced_and_shown_on_request(page, explored):
    open_anew(page, explored)
    ((count,),) = rows(explored.workspace, "SELECT count(*) FROM pulls")
    playwright.expect(tile(page, "Pulls")).to_have_text(str(count))
    drop(explored.workspace, "b.txt", "later-1\nlater-2\nlater-3\n")
    with ThreadPoolExecutor(1) as other:  # the driver of the browser has an event loop in this thread
        other.submit(refresh, explored.workspace).result()
    ((newer,),) = rows(explored.workspace, "SELECT count(*) FROM pulls")
    assert newer > count
    page.locator("marimo-refresh").get_by_role("button").first.click()
    playwright.expect(page.get_by_text("Newer data was published.")).to_be_visible()
    playwright.expect(tile(page, "Pulls")).to_have_text(str(count))
    page.get_by_role("button", name="Reload").click()
    playwright.expect(tile(page, "Pulls")).to_have_text(str(newer))
    playwright.expect(page.get_by_text("Newer data was published.")).to_be_hidden()
