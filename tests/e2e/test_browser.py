"""The Dagster UI in a real Chromium: what a user finds on each page, and the button that starts a materialization.

Needs Chromium, which is not a Python package; without it these tests are skipped. `make screenshots` keeps a picture
of each page that is looked at here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from pipeline.definitions import defs
from pipeline.schema import PUBLISHED, TABLES
from pipeline.settings import PROJECT_ROOT
from tests.support.asset_groups import GROUPS
from tests.support.browser import CHROMIUM, chromium
from tests.support.processes import free_port, is_served, living, started, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import FloatRect, Page, ViewportSize

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: run `make setup`")

if CHROMIUM is None:
    pytest.skip("no Chromium on this machine: install Debian's package `chromium`", allow_module_level=True)

PICTURES = os.environ.get("PHYGITALS_SCREENSHOTS")
# One of each kind: a table of each zone, one whose rows are not published, and both files. The others' pages show
# what their declarations say, which the tests of the catalog compare. Pictures are kept of all.
SHOWN = ("pack_economics", "pending_sessions", "purchases", "report", "session_submissions", "warehouse")
ASSETS = sorted(name for names in GROUPS.values() for name in names) if PICTURES else SHOWN
AUTOMATION = ("daily_refresh", "database_sensor", "failure_sensor", "inbox_sensor", "pending_sensor", "weekly_prune")
WINDOW: ViewportSize = {"width": 1600, "height": 1000}
EXPANDED = ",".join(f"global@global:{group}" for group in GROUPS)


@dataclass
class Server:
    """`dagster dev` on an instance where the inbox sensor has run one refresh."""

    url: str
    instance: dg.DagsterInstance
    data: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    home = folder / "home"
    home.mkdir()
    shutil.copy(PROJECT_ROOT / "dagster_home" / "dagster.yaml", home)
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith("PHYGITALS_")]:
            patch.delenv(variable)
        patch.setenv("DAGSTER_HOME", str(home))
        patch.setenv("PHYGITALS_DATA_DIR", str(folder / "data"))
        patch.setenv("PHYGITALS_POLL_BUDGET", "3")
        patch.setenv("FRESHNESS_DAEMON_INTERVAL_SECONDS", "5")
        simulate = [sys.executable, "-m", "pipeline.cli.main", "simulate", "--submissions", "80"]
        subprocess.run(simulate, check=True, capture_output=True)
        with dg.DagsterInstance.get() as instance:
            port = free_port()
            dev = [str(Path(sys.executable).with_name("dagster")), "dev", "-h", "127.0.0.1", "-p", str(port)]
            with started(dev, folder / "dev.log") as process:
                url = f"http://127.0.0.1:{port}"
                wait_until(lambda: is_served(url), "the UI answers")
                wait_until(lambda: any(run.is_success for run in instance.get_runs()), "the first refresh succeeds")
                yield Server(url, instance, folder / "data")
                process.terminate()
                wait_until(lambda: living(home) == [], "`dagster dev` stops without orphans")


@pytest.fixture(scope="module")
def page(server) -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page(base_url=server.url, viewport=WINDOW)
        page.set_default_timeout(60_000)
        playwright.expect.set_options(timeout=60_000)
        yield page


@pytest.fixture
def picture(page) -> Callable[[str], None]:
    """Keeps a picture of the page under a name, where somebody asked for pictures."""

    def keep(name: str) -> None:
        if PICTURES:
            page.wait_for_load_state("networkidle")
            page.screenshot(path=Path(PICTURES) / f"{name}.png", animations="disabled")

    return keep


def see(page: Page, *texts: str | re.Pattern[str]) -> None:
    for text in texts:
        playwright.expect(page.get_by_text(text, exact=isinstance(text, str)).first).to_be_visible()


def is_seen_anew(page: Page, text: str) -> bool:
    """Whether the text is on an asset's page when it is loaded again: it does not learn of freshness by itself.

    A page that is left before it is complete keeps the server at work for nothing, so each load gets its time.
    """
    page.reload()
    see(page, "Freshness policy")
    try:
        page.get_by_text(text, exact=True).first.wait_for(timeout=10_000)
    except playwright.TimeoutError:
        return False
    return True


def test_the_lineage_shows_every_asset_in_its_group(page, picture):
    page.goto("/asset-groups")
    see(page, "Materialize all", *GROUPS)
    page.set_viewport_size({"width": 1700, "height": 2000})  # only what is in the window is drawn
    page.keyboard.press("Alt+e")
    nodes = page.locator("svg foreignObject")
    for name in ("purchases", "status_responses", "warehouse"):
        playwright.expect(nodes.filter(has_text=name).first).to_be_attached()
    # Opened with its groups expanded, the graph is scaled to the window.
    page.goto(f"/asset-groups?expanded={EXPANDED}")
    for names in GROUPS.values():
        for name in names:
            playwright.expect(nodes.filter(has_text=_as_drawn(name)).first).to_be_visible()
    picture("lineage")
    page.set_viewport_size(WINDOW)
    if PICTURES:
        keep_small_picture(page, Path(PICTURES))


def keep_small_picture(page: Page, folder: Path) -> None:
    """The graph alone, for the README: from a window that all of it fits in, at six tenths of its size."""
    assert page.context.browser is not None
    small = page.context.browser.new_page(viewport={"width": 1700, "height": 2000}, device_scale_factor=0.6)
    small.goto(page.url)
    playwright.expect(small.locator("svg foreignObject").filter(has_text="warehouse").first).to_be_visible()
    small.wait_for_load_state("networkidle")
    graph: FloatRect = {"x": 560, "y": 300, "width": 1110, "height": 1330}
    small.screenshot(path=folder / "lineage-small.png", clip=graph, animations="disabled")
    small.close()


def _as_drawn(name: str) -> re.Pattern[str]:
    """The name as the graph draws it; a long one loses its middle."""
    return re.compile(f"{name}|{name[:4]}.*…")


@pytest.mark.parametrize("name", ASSETS)
def test_each_asset_has_a_page_that_says_what_it_is_and_how_it_is(name, page, picture):
    page.goto(f"/assets/{name}")
    (spec,) = [spec for spec in defs.resolve_all_asset_specs() if spec.key.to_user_string() == name]
    see(page, re.compile(re.escape(str(spec.description).splitlines()[0].split("`")[0].strip())), str(spec.group_name))
    see(page, "Latest materialization", "Freshness policy", "Owners", "data")
    wait_until(lambda: is_seen_anew(page, "Passing"), "the daemon looks at freshness, as it does each few seconds")
    if name in TABLES:
        first, *_, last = TABLES[name].columns
        see(page, "Columns", first.name, last.name, last.type)
    if TABLES.get(name) in PUBLISHED:
        see(page, "Row count", "DuckDB", "Parquet")
    picture(f"asset-{name}")


def test_the_checks_of_a_table_are_listed_with_their_outcome(page, picture):
    page.goto("/assets/purchases?view=checks")
    see(page, "key_is_unique", "required_columns_are_set", "status_is_known", "Succeeded")
    see(page, "This is a blocking asset check.")
    picture("checks")


def test_every_schedule_and_sensor_is_on(page, picture):
    page.goto("/automation")
    see(page, *AUTOMATION)
    switches = page.locator("label").filter(has=page.locator("input[type=checkbox]:checked"))
    playwright.expect(switches).to_have_count(len(AUTOMATION))
    picture("automation")


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("schedules", "daily_refresh", "Polls every pending session once a day"),
        ("schedules", "weekly_prune", "Removes runs older than"),
        ("sensors", "inbox_sensor", "Starts a refresh when the inbox or the folder sellbacks has unread files"),
        ("sensors", "pending_sensor", "Starts a refresh when pending sessions are due"),
        ("sensors", "failure_sensor", "Adds one line with cause and remedy to the log of a failed run"),
    ],
)
def test_each_schedule_and_sensor_says_on_its_page_what_it_does_and_that_it_runs(kind, name, words, page, picture):
    page.goto(f"/locations/phygitals/{kind}/{name}")
    see(page, re.compile(f"^{words}"), "Running")
    picture(f"{kind}-{name}")


def test_the_run_that_the_inbox_started_is_listed_with_its_file(page, picture):
    page.goto("/runs")
    see(page, "inbox_sensor", "Success", re.compile("inbox: purchases-"))
    picture("runs")


@pytest.mark.parametrize("width", [360, 1600])
def test_the_report_fits_a_phone_and_a_screen_and_asks_nothing_of_the_network(width, server, page):
    (report,) = server.data.rglob("report.html")
    window = page.context.browser.new_page(viewport={"width": width, "height": 800})
    asked: list[str] = []
    complaints: list[str] = []
    window.on("request", lambda request: asked.append(request.url))
    window.on("console", lambda message: complaints.append(message.text))
    window.goto(report.as_uri())
    playwright.expect(window.get_by_role("heading", name="The median quote is")).to_be_visible()
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    assert asked == [report.as_uri()]
    assert complaints == []
    if PICTURES:
        window.screenshot(path=Path(PICTURES) / f"report-{width}.png", full_page=True)
    window.close()


def materialize(page: Page, name: str) -> None:
    """Presses the button on an asset's page, which starts a run."""
    page.goto(f"/assets/{name}")
    page.get_by_role("button", name="Materialize").first.click()
    see(page, re.compile("^Launched run"))


def test_the_button_starts_a_materialization_that_succeeds(server, page, picture):
    materialize(page, "item_types")
    picture("materialize")
    key = dg.AssetKey("item_types")

    def has_succeeded() -> bool:
        return any(run.is_success and run.asset_selection == {key} for run in server.instance.get_runs())

    wait_until(has_succeeded, "the run that the button started succeeds")
    latest = server.instance.get_latest_materialization_event(key)
    assert latest is not None
    page.goto(f"/runs/{latest.run_id}")
    see(page, "Success", re.compile("item_types"))
    picture("run")


def test_the_execute_button_of_a_check_runs_that_check_alone(server, page, picture):
    page.goto("/assets/item_types?view=checks&checkDetail=key_is_unique")
    page.get_by_text("Execute", exact=True).first.click()
    key = dg.AssetCheckKey(dg.AssetKey("item_types"), "key_is_unique")

    def has_succeeded() -> bool:
        return any(run.is_success and run.asset_check_selection == {key} for run in server.instance.get_runs())

    wait_until(has_succeeded, "the run of the check alone succeeds")
    picture("check-executed")


def test_a_failed_run_says_on_its_page_what_to_do(server, page, picture):
    broken = next((server.data / "raw" / "session_submissions").rglob("*.parquet"))
    whole = broken.read_bytes()
    broken.write_bytes(b"broken")
    materialize(page, "session_submissions")

    def told() -> list[dg.DagsterRun]:
        return [run for run in server.instance.get_runs() if "what_to_do" in run.tags]

    wait_until(lambda: told() != [], "the failed run is tagged with what to do")
    page.goto(f"/runs/{told()[0].run_id}")
    see(page, "Failure", re.compile(f"^What to do: .*{broken.name} cannot be read.*restore it from a backup$"))
    picture("failed-run")
    broken.write_bytes(whole)
