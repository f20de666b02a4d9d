"""The report on a screen and on paper: what is folded, and where a page of paper may end."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report.page import render
from tests.support.browser import CHROMIUM, chromium
from tests.support.report_page import facts_of

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: run `make setup`")
if CHROMIUM is None:
    pytest.skip("no Chromium on this machine: install Debian's package `chromium`", allow_module_level=True)


@pytest.fixture
def report(published, tmp_path: Path):
    """The address of a report of one session."""
    purchases = (
        "SELECT 's' AS session_id, 'failed' AS status, 1 AS poll_count, "
        "TIMESTAMPTZ '2026-03-09 00:00:00+00' AS submitted_at"
    )
    (file := tmp_path / "report.html").write_text(render(facts_of(published(purchases=purchases)), "production"))
    return file.as_uri()


def test_a_table_is_folded_on_a_screen_opens_by_a_click_and_is_printed(report):
    with chromium() as browser:
        page = browser.new_page()
        page.goto(report)
        heading = page.get_by_text("7 days before", exact=True)
        playwright.expect(heading).not_to_be_visible()
        page.emulate_media(media="print")
        playwright.expect(heading).to_be_visible()
        page.emulate_media(media="screen")
        playwright.expect(heading).not_to_be_visible()
        page.get_by_text("All figures of yesterday").click()
        playwright.expect(heading).to_be_visible()


def test_on_paper_no_heading_and_no_term_is_left_alone_at_the_end_of_a_page(report):
    parted = """() => [...document.querySelectorAll("h2, h3, summary, thead, dt")]
        .filter(element => getComputedStyle(element).breakAfter !== "avoid")
        .map(element => element.textContent)"""
    with chromium() as browser:
        page = browser.new_page()
        page.goto(report)
        page.emulate_media(media="print")
        assert page.locator("dt").count() > 3
        assert page.evaluate(parted) == []


def test_on_paper_no_label_of_a_chart_is_cut_off(published, tmp_path: Path):
    purchases = (
        "SELECT 's' || i AS session_id, 'pending' AS status, 1 AS poll_count, "
        "TIMESTAMPTZ '2026-03-10 11:00:00+00' AS submitted_at FROM range(9) AS numbers(i)"
    )
    ageing = "SELECT '10 to 60 minutes' AS age_band, 9 AS session_count, 0 AS priced_session_count"
    html = render(facts_of(published(purchases=purchases, pending_ageing=ageing)), "production")
    (file := tmp_path / "report.html").write_text(html)
    cut_off = """() => [...document.querySelectorAll(".drawing svg text")].filter(text => {
        const box = text.getBoundingClientRect(), paper = document.body.getBoundingClientRect();
        return box.left < paper.left || box.right > paper.right;
    }).map(text => text.textContent)"""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 688, "height": 1000})  # A4 without its margins
        page.goto(file.as_uri())
        page.emulate_media(media="print")
        assert page.locator(".wide svg text").get_by_text("10 to 60 minutes").count() > 0
        assert page.evaluate(cut_off) == []
