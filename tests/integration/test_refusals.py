"""What stops a run: refused keys and requests, unreachable places, other writers; and what does not."""

from __future__ import annotations

import pytest

from pipeline.polling.refusals import ApiRefusedError, ApiUnreachableError
from pipeline.simulator.server import Reply, Simulator
from pipeline.steps import Workspace
from pipeline.storage.errors import DataDirectoryError
from tests.support.answers import fulfilled
from tests.support.workspace import KEY, ask, drop, refresh, rows, statuses


def test_a_refused_key_stops_the_run_at_once_and_changes_no_session(api):
    simulator = api(Simulator(delay_scale=0, hold=0))
    simulator.key = "another key"
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(f"s{i}" for i in range(500)))
    with pytest.raises(
        ApiRefusedError, match="refused the API key with HTTP 401: .*Invalid API key.*PHYGITALS_API_KEY"
    ):
        refresh(workspace)
    workspace.publish()
    assert rows(workspace, "SELECT status, count(*) FROM purchases GROUP BY 1") == [("pending", 500)]
    ((asked,),) = rows(workspace, "SELECT sum(poll_count)::INTEGER FROM purchases")
    assert 0 < asked <= workspace.settings.max_concurrency
    simulator.key = KEY
    ask(workspace)
    found = statuses(workspace)
    assert len(found) == 500 and set(found.values()) <= {"fulfilled", "failed"}


def test_refusals_that_are_not_in_a_row_stop_nothing(api):
    refused = {f"s{i:03}" for i in range(0, 300, 10)}
    api(Simulator(delay_scale=0, hold=0, scripts={s: [Reply(403), fulfilled(s)] for s in refused}))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(f"s{i:03}" for i in range(300)))
    ask(workspace)
    assert refused <= {session_id for session_id, status in statuses(workspace).items() if status != "pending"}


@pytest.mark.parametrize("reply", [Reply(403, b"<html>blocked, cf-ray 1</html>"), Reply.json({"error": "gone"}, 404)])
def test_twenty_refusals_in_a_row_stop_the_run(reply, api):
    api(Simulator(delay_scale=0, hold=0, scripts={f"s{i}": [reply] for i in range(40)}))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(f"s{i}" for i in range(40)))
    with pytest.raises(
        ApiRefusedError, match=rf"refused the last 20 sessions, most recently with HTTP {reply.status}: "
    ):
        ask(workspace)


def test_fewer_refused_sessions_do_not_stop_the_run(api, configure):
    scripts = {f"s{i}": [Reply(404)] for i in range(19)} | {"good": [fulfilled("good")]}
    api(Simulator(delay_scale=0, hold=0, scripts=scripts))
    configure(poll_budget=1)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(scripts))
    ask(workspace)
    assert statuses(workspace) == dict.fromkeys(scripts, "pending") | {"good": "fulfilled"}


def test_an_unreachable_api_is_said_in_one_line_and_loses_nothing(configure, api):
    configure(env="production", api_key=KEY, api_url="http://127.0.0.1:9", poll_budget=0.5, poll_interval=0.05)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "s\n")
    with pytest.raises(ApiUnreachableError) as failure:
        ask(workspace)
    assert "http://127.0.0.1:9/api/v1/vm/buy/status" in str(failure.value)
    assert "PHYGITALS_API_URL" in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_redirect_is_not_followed_and_the_key_goes_nowhere(api):
    seen = []
    elsewhere = Simulator(delay_scale=0, hold=0, on_request=lambda request, _: seen.append(request.headers))
    from pipeline.simulator.service import serve

    with serve(elsewhere) as url:
        redirect = Reply(307, b"", {"Location": f"{url}/api/v1/vm/buy/status"})
        api(Simulator(delay_scale=0, hold=0, scripts={"s": [redirect, fulfilled("s")]}))
        workspace = Workspace.open()
        drop(workspace, "a.txt", "s\n")
        ask(workspace)
    assert statuses(workspace) == {"s": "fulfilled"}
    assert seen == []


def test_a_data_directory_refuses_another_environment(api, configure):
    api(Simulator(delay_scale=0, hold=0))
    drop(Workspace.open(), "a.txt", "one\n")
    configure(env="sandbox")
    with pytest.raises(DataDirectoryError, match="holds data of production at .*, not of sandbox"):
        Workspace.open()
    configure(env="production", api_url="http://127.0.0.1:1")
    with pytest.raises(DataDirectoryError, match="PHYGITALS_DATA_DIR"):
        Workspace.open()


def test_a_data_directory_that_cannot_be_made_is_refused_by_name(configure, tmp_path):
    (tmp_path / "file").write_text("in the way")
    configure(data_dir=tmp_path / "file" / "data")
    with pytest.raises(DataDirectoryError, match="/file/data is a file, or below one"):
        Workspace.open()


def test_a_second_writer_is_refused_and_a_dead_one_does_not_block(api):
    api(Simulator(delay_scale=0, hold=0))
    first, second = Workspace.open(), Workspace.open()
    with first.data.exclusive():
        first.take_in()
        with pytest.raises(DataDirectoryError, match="another run is writing"):
            second.take_in()
    assert (first.data.root / ".lock").exists()
    second.take_in()


def test_connections_that_break_leave_their_sessions_pending_and_fail_no_run(api, configure):
    api(Simulator(delay_scale=0, hold=0, scripts={"s": [Reply(is_dropped=True)]}))
    configure(poll_budget=0.5)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "s\n")
    ask(workspace)
    assert statuses(workspace) == {"s": "pending"}
