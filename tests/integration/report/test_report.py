"""The report: one page that stands alone, tells what the tables say, and obeys nothing that was received."""

from __future__ import annotations

import re
from typing import Any

import altair as alt
import duckdb
import pytest
from jsonschema import ValidationError

from pipeline.clock import now
from pipeline.publish import PublishError
from pipeline.report import ReportError, wording
from pipeline.report.drawing import data, draw
from pipeline.report.page import render, write_report
from pipeline.simulator.server import FAILED, PENDING, Reply, Simulator
from pipeline.steps import Workspace
from tests.support.answers import fulfilled
from tests.support.command_line import assert_one_line_error, phygitals_here
from tests.support.report_page import NOON, Page, facts_of
from tests.support.workspace import drop, refresh, rows


def page_of(workspace: Workspace) -> Page:
    return Page(workspace.report().read_text(encoding="utf-8"))


def item(number: int, price: object, **more: object) -> dict[str, object]:
    return {"id": f"card-{number}", "type": "enft", "buyback_price": price} | more


def test_the_page_stands_alone_and_shows_every_part(api, configure):
    scripts = {"waits": [PENDING], "fails": [FAILED], "odd": [Reply(200, b"oops"), PENDING]}
    api(Simulator(delay_scale=0, hold=0, scripts=scripts))
    configure(poll_budget=2)
    workspace = Workspace.open()
    ids = [*(f"s{i}" for i in range(40)), *scripts]
    drop(workspace, "a.csv", "session_id,pack_id,price_usd\n" + "".join(f"{i},elite-50,50\n" for i in ids))
    refresh(workspace)
    html = workspace.report().read_text(encoding="utf-8")
    page = Page(html)
    assert page.tags.isdisjoint({"script", "link", "img", "image", "iframe", "object", "embed", "form", "base"})
    assert not [attributes for _, attributes in page.elements if "src" in attributes]
    styles = {str(attributes["style"]) for _, attributes in page.elements if "style" in attributes}
    assert all(re.fullmatch(r"border-color: var\(--\w+\)", style) for style in styles)
    targets = {attributes["href"] for _, attributes in page.elements if "href" in attributes}
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert targets == {f"#{identity}" for identity in identities}
    assert len(identities) == len(set(identities))
    assert set(re.findall(r"https?://[^\s\"'<]+", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "url(" not in html and "@import" not in html
    assert "default-src 'none'" in html
    drawn = re.findall(r'<h3 class="received">([^<]+)</h3>.*?<figcaption>([^<]+)</figcaption>', html, re.DOTALL)
    findings = (
        *(r"elite-50 wins [\d.]+ % of its pulls", r"[\d.]+ % of the pulls are quoted below their price"),
        *(r"The median quote is \$[\d.]+, the mean \$[\d.]+", r"[\d.]+ % of the pulls have \d+ % of the value"),
        *(
            r"Type \w+ has the highest median quote, \$[\d.,]+|No type has 30 quotes yet.*|Type \w+ has a .*",
            "Pulls: no day is complete yet",
        ),
        *(
            "Quoted buyback: no day is complete yet",
            r"[\d.]+ % of the final sessions are fulfilled; 2 pending, 0 expired",
        ),
        "No session is pending for over a day",
    )
    assert len(drawn) == len(findings)
    for (title, _), finding in zip(drawn, findings, strict=True):
        assert re.fullmatch(finding, title), title
    assert [reading for _, reading in drawn if "n = " not in reading] == [
        "The sum of quotes by UTC day and item type, for the same pulls."
    ]
    assert page.tags >= {"svg", "table", "nav"}
    assert len(html) < 1_000_000
    for words in (
        "malformed_answer",
        "the body is not JSON",
        "waits",
        "elite-50",
        "of 41 final",
        "fulfilled sessions were already fulfilled at the first poll, so the times measure the delay of that poll",
        "2 sessions are pending",
    ):
        assert words in page.text, words


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</svg></style><b onclick='x'>bold</b>",
    "{{ 7 * 7 }}{% raw %}",
    "datum.value']; alert(1); //",
    "$x_{1}$ \\alpha",
    "\u202eevil\u0007",
    "'); DROP TABLE pulls; --",
]


def test_nothing_that_was_received_becomes_markup(api, configure):
    items = [item(i, 10 + i, type=name, content={"metadata": {"name": name}}) for i, name in enumerate(HOSTILE)]
    scripts = {f"s{i}": [fulfilled(f"s{i}", *items)] for i in range(len(HOSTILE))}
    scripts |= {"<i>odd</i>": [Reply(200, b"<script>alert(2)</script>"), PENDING]}
    api(Simulator(delay_scale=0, hold=0, scripts=scripts))
    configure(poll_budget=2)
    workspace = Workspace.open()
    cells = [f's{i},"{name.replace(chr(34), chr(34) * 2)}",10\n' for i, name in enumerate(HOSTILE)]
    drop(workspace, "a.csv", "session_id,pack_id,price_usd\n" + "".join(cells) + "<i>odd</i>,<u>p</u>,10\n")
    refresh(workspace)
    page = page_of(workspace)
    assert page.tags.isdisjoint({"script", "img", "i", "u", "iframe"})
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    for name in HOSTILE:
        assert wording.short(name) in page.text
    assert "<script>alert(2)</script>" in page.text
    assert "\u202e" not in page.text and "\u0007" not in page.text


def test_the_titles_of_charts_and_the_lighter_day_follow_from_the_data(published):
    def purchases(status: str, polled: str) -> str:
        return (
            f"SELECT 's' AS session_id, '{status}' AS status, 1 AS poll_count, "
            "TIMESTAMPTZ '2026-03-09 00:00:00+00' AS submitted_at, "
            f"TIMESTAMPTZ '{polled}:00+00' AS last_polled_at"
        )

    def funnel(fulfilled: int, failed: int) -> str:
        return (
            f"SELECT DATE '2026-03-09' AS submitted_date, {fulfilled} AS fulfilled, {failed} AS failed, 0 AS pending, "
            f"0 AS expired, {fulfilled + failed} AS submitted, false AS is_mature"
        )

    lighter = "The lighter day is not over in the data."
    over = render(
        facts_of(
            published(purchases=purchases("fulfilled", "2026-03-10 01:00"), resolution_funnel=funnel(3, 1)),
        ),
        "production",
    )
    assert "75.0 % of the final sessions are fulfilled" in over
    assert lighter not in over and 'opacity="0.45"' not in over
    going_on = render(
        facts_of(published(purchases=purchases("failed", "2026-03-09 23:00"), resolution_funnel=funnel(1, 3))),
        "production",
    )
    assert "25.0 % of the final sessions are fulfilled" in going_on
    assert lighter in going_on and 'opacity="0.45"' in going_on


def test_without_submissions_the_page_says_so(api):
    api(Simulator(hold=0))
    workspace = Workspace.open()
    refresh(workspace)
    page = page_of(workspace)
    assert "No sessions were submitted yet" in page.text
    assert "phygitals submit" in page.text
    assert "svg" not in page.tags


def test_where_nothing_is_known_the_page_says_what_is_missing(api, configure):
    api(Simulator(hold=0, scripts={"waits": [PENDING]}))
    configure(poll_budget=0.5)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "waits\n")
    refresh(workspace)
    page = page_of(workspace)
    for words in (
        *(
            "1 session is pending (1 without a price).",
            "No pull has a quote above zero yet.",
            "There are no pulls yet.",
        ),
        *("No submission has both", "No session is fulfilled yet", "No pull has a quote yet.", "No issues in the data"),
    ):
        assert words in page.text, words
    assert "None" not in page.text and "nan" not in page.text


@pytest.mark.parametrize("prices", [[None, 0], [0, None, 5], ["99999999999.9999"], [0.0001]])
def test_quotes_at_the_edges_are_drawn_or_left_out(api, prices):
    items = [item(number, price) for number, price in enumerate(prices)]
    api(Simulator(delay_scale=0, hold=0, scripts={"s": [fulfilled("s", *items)]}))
    workspace = Workspace.open()
    drop(workspace, "a.csv", "session_id,pack_id,price_usd\ns,free,0\n")
    refresh(workspace)
    page = page_of(workspace)
    assert ("The cumulative shares of quoted pulls" in page.text) == any(prices)
    assert ("1 pull quoted at zero not shown" in page.text) == (prices == [0, None, 5])
    assert ("1 pull without a quote not shown" in page.text) == (prices == [0, None, 5])


def test_nothing_published_yet_is_said(api):
    api(Simulator(hold=0))
    with pytest.raises(PublishError, match="phygitals refresh"):
        Workspace.open().report()


def test_a_published_file_of_another_make_is_named(published, tmp_path):
    path = published()
    with duckdb.connect(path) as connection:
        connection.execute("DROP TABLE pack_economics")
    workspace = Workspace.open_for_reading()
    workspace.data.root.mkdir()
    path.rename(workspace.data.warehouse)
    with pytest.raises(ReportError, match=r"report.html could not be made from .*phygitals refresh"):
        write_report(workspace.data, "local", NOON)


def test_a_report_that_cannot_be_written_loses_nothing(api):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "one\n")
    workspace.data.report.mkdir()
    failed = phygitals_here("refresh")
    assert_one_line_error(failed, "the tables are published, but not the report", "report.html")
    assert rows(workspace, "SELECT session_id, status FROM purchases") == [("one", "fulfilled")]
    assert list(workspace.data.root.glob(".report*")) == []


def test_the_command_and_a_rebuild_write_the_report_anew(api):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "one\n")
    refresh(workspace)
    before = workspace.report().stat().st_ino
    told = phygitals_here("report")
    assert told.returncode == 0, told.stderr
    assert told.stdout == f"Report: {workspace.data.report}\n"
    told_of = workspace.data.report.stat().st_ino
    assert told_of != before
    assert phygitals_here("rebuild").returncode == 0
    assert workspace.data.report.stat().st_ino != told_of


def test_the_page_is_the_same_for_the_same_file_and_moment(published):
    path = published(purchases="SELECT 'a' AS session_id, 'pending' AS status, now() AS submitted_at, 0 AS poll_count")
    moment = now()
    assert render(facts_of(path, moment), "local") == render(facts_of(path, moment), "local")


def test_a_chart_that_departs_from_vega_lite_s_schema_is_refused_by_these_tests():
    mark: Any = "no-such-mark"
    with pytest.raises(ValidationError, match="no-such-mark"):
        draw(lambda _width: alt.Chart(data([{"x": 0}]), mark=mark).encode(alt.X("x:Q")), 10)
