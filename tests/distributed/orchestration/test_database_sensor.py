"""The sensor of the database: new rows start one run within a tick, and a database that is away breaks nothing."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest

from pipeline.clock import now
from pipeline.definitions import defs
from pipeline.orchestration import automation
from pipeline.orchestration.automation import database_sensor
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from tests.support.postgresql import PASSWORD
from tests.support.workspace import rows

NO_NEWS = "no new row in the database"


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as empty:
        yield empty


@pytest.fixture
def tick(instance, monkeypatch):
    """Evaluates the sensor, at a time so much later, on the hour."""

    def evaluate(later: timedelta = timedelta()) -> dg.RunRequest | dg.SkipReason:
        monkeypatch.setattr(automation, "now", lambda: now().replace(minute=0) + later)
        result = database_sensor(dg.build_sensor_context(instance))
        assert isinstance(result, dg.RunRequest | dg.SkipReason)
        return result

    return evaluate


@pytest.fixture
def served(shop, api):
    api(Simulator(delay_scale=0, hold=0))
    return shop


def test_new_rows_start_a_run_within_a_tick_and_not_again(served, tick):
    assert tick().skip_message == NO_NEWS
    served.add("a")
    first = tick()
    assert isinstance(first, dg.RunRequest)
    assert tick().run_key == first.run_key
    Workspace.open().take_in()
    assert tick().skip_message == NO_NEWS
    served.add("b")
    second = tick()
    assert isinstance(second, dg.RunRequest) and second.run_key != first.run_key
    Workspace.open().take_in()
    assert tick().skip_message == NO_NEWS


def test_a_tick_comes_twice_a_minute():
    assert database_sensor.minimum_interval_seconds == 30


def test_the_run_that_it_starts_brings_the_rows_into_the_published_file(served, tick):
    served.add("a", "b c")
    request = tick()
    assert isinstance(request, dg.RunRequest)
    result = defs.resolve_job_def("refresh").execute_in_process(tags=request.tags)
    assert result.success
    (made,) = result.asset_materializations_for_node("run_pipeline")[:1]
    assert made.asset_key.to_user_string() == "session_submissions"
    numbers = {name: made.metadata[name].value for name in ("rows_read", "accepted", "duplicates", "rejected")}
    assert numbers == {"rows_read": 2, "accepted": 1, "duplicates": 0, "rejected": 1}
    assert rows(Workspace.open(), "SELECT session_id, status, source_file FROM purchases") == [
        ("a", "fulfilled", "postgresql: shop")
    ]
    assert tick().skip_message == NO_NEWS


def test_rows_that_stay_unread_start_another_run_in_the_next_hour(served, tick):
    served.add("a")
    first = tick()
    assert isinstance(first, dg.RunRequest)
    assert tick(timedelta(minutes=59)).run_key == first.run_key
    assert tick(timedelta(minutes=61)).run_key != first.run_key


def test_a_row_that_is_committed_late_starts_a_run(served, tick):
    with served.adding("late"):
        served.add("early")
        Workspace.open().take_in()
        assert tick().skip_message == NO_NEWS
    assert isinstance(tick(), dg.RunRequest)


def test_a_clock_ahead_starts_one_run_for_each_row(served, tick):
    served.add("ahead", ago="-10 years")
    assert isinstance(tick(), dg.RunRequest)
    Workspace.open().take_in()
    assert tick().skip_message == NO_NEWS
    served.add("ahead too", ago="-10 years")
    assert isinstance(tick(), dg.RunRequest)


def test_no_run_is_started_while_one_is_in_progress(served, tick, instance):
    served.add("a")
    with Workspace.open().data.exclusive():
        assert tick().skip_message == "a run is queued or in progress"
    instance.create_run_for_job(defs.resolve_job_def("refresh"), status=dg.DagsterRunStatus.STARTED)
    assert tick().skip_message == "a run is queued or in progress"


def test_without_a_database_it_says_so(api, tick):
    api(Simulator(hold=0))
    assert tick().skip_message == "PHYGITALS_SUBMISSIONS_URL is not set"


def test_a_database_that_is_away_is_a_reason_to_skip_and_starts_a_run_when_it_is_back(served, tick, configure):
    served.add("a")
    Workspace.open().take_in()
    configure(submissions_url=served.cluster.url(password="wrong"))
    skipped = tick().skip_message
    assert skipped.startswith("postgresql: shop: ") and "password authentication failed" in skipped
    assert PASSWORD not in skipped
    Workspace.open().take_in()
    assert isinstance(tick(), dg.SkipReason)
    configure(submissions_url=served.cluster.url())
    assert isinstance(tick(), dg.RunRequest)
    Workspace.open().take_in()
    assert tick().skip_message == NO_NEWS


def test_a_wrong_setting_is_a_reason_to_skip(served, tick, configure):
    configure(submissions_url="mysql://user:geheim@host/shop")
    skipped = str(tick().skip_message)
    assert skipped.startswith("PHYGITALS_SUBMISSIONS_URL=the value (not shown) is refused")
    assert "geheim" not in skipped


def test_another_query_starts_a_run(served, tick, configure):
    served.add("a")
    Workspace.open().take_in()
    configure(submissions_query=f"{served.QUERY} -- again")
    assert isinstance(tick(), dg.RunRequest)
    Workspace.open().take_in()
    assert tick().skip_message == NO_NEWS
