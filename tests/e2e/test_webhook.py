"""Telling of failures over a real webhook: what is posted, and that a bad webhook costs nothing but a line."""

from __future__ import annotations

import dagster as dg
import pytest

from pipeline.definitions import defs
from pipeline.orchestration import webhook
from pipeline.orchestration.command_line_runs import TAGS, give_runs_an_origin
from pipeline.orchestration.failures import failure_sensor
from pipeline.orchestration.webhook import WebhookError
from pipeline.settings import Settings, SettingsError, WebhookSettings
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from tests.support.command_line import assert_one_line_error, phygitals_here
from tests.support.dagster_runs import origin_of_daemon
from tests.support.webhook_receiver import SECRET
from tests.support.workspace import drop


def refused(url: str, timeout: float = 5) -> str:
    with pytest.raises(WebhookError) as caught:
        webhook.post(url, {"text": "hello"}, "PHYGITALS_FAILURE_WEBHOOK", timeout)
    assert SECRET not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    return str(caught.value)


def test_a_message_arrives_as_json(receiver):
    kept, url = receiver
    webhook.post(url, {"text": "hello"}, "PHYGITALS_FAILURE_WEBHOOK")
    assert kept.messages == [{"text": "hello"}]


def test_an_answer_that_is_no_success_is_an_error_without_the_url(receiver):
    kept, url = receiver
    kept.status = 410
    assert "answered HTTP 410" in refused(url)


def test_a_redirect_is_not_followed(receiver):
    kept, url = receiver
    kept.status, kept.headers = 307, {"Location": f"{url}/elsewhere"}
    assert "answered HTTP 307" in refused(url)
    assert len(kept.messages) == 1


def test_a_silent_webhook_is_given_up(receiver):
    kept, url = receiver
    kept.silence.clear()
    assert "did not answer within 0.2 s" in refused(url, timeout=0.2)


def test_a_webhook_that_is_not_there_is_an_error_without_the_url():
    assert "could not be reached" in refused(f"http://127.0.0.1:9/{SECRET}")


@pytest.mark.parametrize("url", [f"http://hooks.example/{SECRET}", f"ftp://127.0.0.1/{SECRET}", SECRET, "https://[::1"])
def test_a_url_that_is_not_allowed_is_refused_and_not_shown(url, configure):
    configure(failure_webhook=url)
    with pytest.raises(SettingsError, match="PHYGITALS_FAILURE_WEBHOOK=the value .not shown. is refused") as caught:
        Settings.load()
    assert SECRET not in str(caught.value)
    assert WebhookSettings.failure_webhook_url() is None


def test_the_webhook_is_known_while_other_settings_are_wrong(configure):
    configure(failure_webhook=f"https://hooks.example/{SECRET}", poll_budget="soon")
    assert WebhookSettings.failure_webhook_url() == f"https://hooks.example/{SECRET}"
    settings = WebhookSettings.model_validate({"failure_webhook": f"https://hooks.example/{SECRET}"})
    assert SECRET not in repr(settings)


@pytest.fixture
def failed_run(configure):
    """An instance with a real run that the settings made fail."""
    configure(expire_after="<!channel> & never")
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("refresh").execute_in_process(instance=instance, raise_on_error=False)
        assert not result.success
        yield instance, result


def tell(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> list[str]:
    """Evaluates the sensor for the run; returns the messages of the run's log."""
    (event,) = [e for e in result.all_events if e.event_type is dg.DagsterEventType.RUN_FAILURE]
    context = dg.build_run_status_sensor_context("failure_sensor", event, instance, result.dagster_run)
    failure_sensor(context.for_run_failure())
    return _log(instance, result.run_id)


def _log(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    records = instance.get_records_for_run(run_id).records
    entries = [record.event_log_entry for record in records]
    return [entry.message or entry.get_dagster_event().message or "" for entry in entries]


def test_a_failed_run_ends_with_what_to_do_and_the_webhook_is_told(failed_run, receiver, configure):
    kept, url = receiver
    configure(failure_webhook=url)
    instance, result = failed_run
    log = tell(instance, result)
    line = "PHYGITALS_EXPIRE_AFTER='<!channel> & never' is refused"
    assert log[-1].startswith(f"What to do: {line}")
    shown = instance.get_run_by_id(result.run_id).tags["what_to_do"]
    assert shown.startswith(line)
    (message,) = kept.messages
    assert message["what_to_do"].startswith(line)
    # What receivers show as text has no markup of theirs in it.
    escaped = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert message["text"].startswith(f"Phygitals local on {message['host']}: refresh failed: {escaped}")
    assert message["environment"] == "local"
    assert (message["job"], message["run_id"]) == ("refresh", result.run_id)
    assert SECRET not in "".join(log)


def test_a_webhook_that_fails_changes_nothing(failed_run, receiver, configure, caplog):
    kept, url = receiver
    kept.status = 500
    configure(failure_webhook=url)
    log = tell(*failed_run)
    assert log[-1].startswith("What to do: ")
    assert len(kept.messages) == 1
    assert SECRET not in "".join(log) + caplog.text


def test_without_a_webhook_the_line_is_in_the_log_alone(failed_run):
    assert tell(*failed_run)[-1].startswith("What to do: ")


@pytest.mark.parametrize("status", [200, 500])
def test_a_refresh_on_the_command_line_that_fails_tells_of_itself(status, api, receiver, configure):
    kept, url = receiver
    kept.status = status
    configure(failure_webhook=url)
    api(Simulator(hold=0)).key = "another"
    drop(Workspace.open(), "a.txt", "one\n")
    result = phygitals_here("refresh")
    assert_one_line_error(result, "HTTP 401", "PHYGITALS_API_KEY")
    (message,) = kept.messages
    assert message["what_to_do"] in result.stderr
    assert ("the notification of run" in result.stdout) == (status == 500)
    assert SECRET not in result.stdout + result.stderr
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        assert message["run_id"] == run.run_id
        assert (run.tags["environment"], run.tags["host"]) == (message["environment"], message["host"])
        assert message["text"].startswith(f"Phygitals production on {run.tags['host']}: ")
        assert "HTTP 401" in run.tags["what_to_do"]
        assert _log(instance, run.run_id)[-1] == f"What to do: {message['what_to_do']}"


def test_the_sensor_skips_a_failed_run_of_the_command_line_and_tells_of_its_reexecution(
    failed_run, receiver, configure
):
    kept, url = receiver
    configure(failure_webhook=url)
    instance, result = failed_run
    (event,) = [e for e in result.all_events if e.event_type is dg.DagsterEventType.RUN_FAILURE]
    job = defs.resolve_job_def("refresh")
    give_runs_an_origin(instance, job.name)
    run = instance.create_run_for_job(job, tags=TAGS)
    again = instance.create_run_for_job(job, tags=run.tags, remote_job_origin=origin_of_daemon(job.name))
    skipped, told = (
        failure_sensor(dg.build_run_status_sensor_context("failure_sensor", event, instance, one).for_run_failure())
        for one in (run, again)
    )
    assert isinstance(skipped, dg.SkipReason) and run.run_id in str(skipped.skip_message)
    assert told is None
    assert [message["run_id"] for message in kept.messages] == [again.run_id]
