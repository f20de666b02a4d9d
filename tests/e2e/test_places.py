"""Where the pipeline is put and how its processes are treated: shares, modes, encodings, streams, signals, installs."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.clock import now
from pipeline.definitions import defs
from pipeline.orchestration.instance import recorded_runs
from pipeline.schema.quotes import ITEM_TYPES
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.schema.staging import PURCHASES
from pipeline.settings import (
    PROJECT_ROOT,
    EnvironmentSetting,
    Settings,
    SettingsError,
    WebhookSettings,
    env_file_warnings,
    exposed_secrets,
)
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from pipeline.storage.connection import connect
from pipeline.storage.errors import DataDirectoryError
from pipeline.storage.files import sync
from pipeline.storage.raw_log import ResponseLog
from tests.support.command_line import assert_one_line_error, phygitals, phygitals_here
from tests.support.journals import kill
from tests.support.workspace import KEY, drop, refresh, rows

STEERING = "\x1b[2J\x1b]0;title\x07\u202e"


@pytest.fixture
def workspace(api):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "one\ntwo\n")
    return workspace


@pytest.fixture
def refreshed(copy_of) -> Workspace:
    """The same after a refresh, with its report."""

    def build(workspace: Workspace) -> None:
        drop(workspace, "a.txt", "one\ntwo\n")
        refresh(workspace)
        workspace.report()

    copied: Workspace = copy_of("refreshed", lambda: Simulator(delay_scale=0, hold=0), build)
    return copied


def test_a_folder_that_cannot_be_synced_is_carried_on_with_and_a_file_is_not(workspace, monkeypatch):
    sync("/proc")  # a real file system that says so
    real = os.fsync

    def fsync_of_a_share(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync_of_a_share)
    refresh(workspace)
    assert rows(workspace, "SELECT count(*) FROM purchases WHERE status <> 'pending'") == [(2,)]
    monkeypatch.setattr(os, "fsync", lambda _: fail(errno.EINVAL))
    with pytest.raises(OSError, match="Invalid argument"):
        sync(workspace.data.warehouse)


def fail(number: int) -> None:
    raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_with_what_to_do(refreshed, monkeypatch, number):
    monkeypatch.setattr(fcntl, "flock", lambda *_: fail(number))
    for attempt in (refreshed.take_in, refreshed.data.is_being_written):
        with pytest.raises(DataDirectoryError) as refusal:
            attempt()
        assert str(refreshed.data.root) in str(refusal.value)
        assert "mount the share with locks, or set PHYGITALS_DATA_DIR" in str(refusal.value)
        assert "\n" not in str(refusal.value)
    with connect(refreshed.data) as connection:  # whoever only reads needs no lock
        assert connection.execute(f"SELECT count(*) FROM {refreshed.data.store.scan(PURCHASES)}").fetchone() == (2,)


def modes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): stat.S_IMODE(path.lstat().st_mode) for path in [root, *root.rglob("*")]}


@pytest.mark.parametrize(("umask", "allowed"), [(0o002, 0o770), (0o077, 0o700)])
def test_what_is_made_is_for_owner_and_group_and_no_wider_than_the_umask(api, umask, allowed):
    api(Simulator(delay_scale=0, hold=0))
    former = os.umask(umask)
    try:
        workspace = Workspace.open()
        assert phygitals_here("submit", "one", "two").returncode == 0
        with workspace.data.exclusive():
            (log,) = [open_journal(workspace)]
            assert stat.S_IMODE(log.stat().st_mode) & ~allowed == 0
            log.unlink()
        refresh(workspace)
        workspace.report()
        assert os.umask(umask) == umask
    finally:
        os.umask(former)
    found = modes(workspace.data.root)
    assert {"phygitals.duckdb", "report.html", "environment.json", ".lock", "inbox"} <= found.keys()
    assert {path: oct(mode) for path, mode in found.items() if mode & ~allowed} == {}
    assert found["phygitals.duckdb"] == allowed & 0o660


def open_journal(workspace: Workspace) -> Path:
    kill(ResponseLog(workspace.data, STATUS_RESPONSES, now()))
    (path,) = workspace.data.journal(STATUS_RESPONSES).iterdir()
    return path


def test_a_published_file_keeps_the_mode_the_group_and_the_link_that_somebody_gave_it(refreshed, tmp_path):
    workspace, data = refreshed, refreshed.data
    (elsewhere := tmp_path / "elsewhere").mkdir()
    shared = {path: elsewhere / path.name for path in (data.warehouse, data.report)}
    for path, place in shared.items():
        path.rename(place)
        path.symlink_to(place)
        place.chmod(0o664)
    (of_lake,) = data.store.part(ITEM_TYPES, "item_types")
    Path(of_lake).chmod(0o604)
    group = another_group()
    for path in [*shared.values(), Path(of_lake)]:
        os.chown(path, -1, group)
    before = {path: place.stat().st_ino for path, place in shared.items()}
    drop(workspace, "b.txt", "three\n")
    refresh(workspace)
    workspace.report()
    for path, place in shared.items():
        found = place.stat()
        assert path.is_symlink() and path.resolve() == place
        assert found.st_ino != before[path]
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o664, group)
    found = Path(of_lake).stat()
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o604, group)
    assert [path.name for path in elsewhere.iterdir() if path.name.startswith(".")] == []
    assert rows(workspace, "SELECT count(*) FROM purchases") == [(3,)]


def another_group() -> int:
    """A group that files may be given to: any for root, else one that the user is in."""
    return 4321 if os.geteuid() == 0 else next((g for g in os.getgroups() if g != os.getegid()), os.getegid())


DOTENV = f"# für die Küche\nPHYGITALS_ENV=production\nPHYGITALS_API_KEY={KEY}\n"


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("utf-16", "is UTF-16: save it again as UTF-8"),
        ("utf-16-le", "is UTF-16: save it again as UTF-8"),
        ("latin-1", "is not in UTF-8, first in line 1: save it again as UTF-8"),
    ],
)
def test_a_dotenv_file_in_another_encoding_is_named_and_nothing_of_it_shown(tmp_path, encoding, words):
    (env_file := tmp_path / ".env").write_bytes(DOTENV.encode(encoding))
    with pytest.raises(SettingsError) as refusal:
        Settings.load(env_file)
    assert str(refusal.value) == f"{env_file} {words}"
    assert refusal.value.__cause__ is None
    assert WebhookSettings.failure_webhook_url(env_file) is None
    assert EnvironmentSetting.name(env_file) == "unknown"


def test_a_dotenv_file_with_a_byte_order_mark_is_read(tmp_path):
    (env_file := tmp_path / ".env").write_text(DOTENV, encoding="utf-8-sig")
    env_file.write_bytes(env_file.read_bytes().replace("# für die Küche\n".encode(), b""))
    assert Settings.load(env_file).env == "production"


@pytest.mark.parametrize(
    ("text", "mode", "named"),
    [
        (f"PHYGITALS_API_KEY={KEY}\n", 0o644, "PHYGITALS_API_KEY"),
        (f"export PHYGITALS_API_KEY = {KEY}\n", 0o604, "PHYGITALS_API_KEY"),
        ("PHYGITALS_FAILURE_WEBHOOK=https://hooks.example/x\n", 0o644, "PHYGITALS_FAILURE_WEBHOOK"),
        (f"PHYGITALS_API_KEY={KEY}\n", 0o640, None),
        (f"#PHYGITALS_API_KEY={KEY}\nPHYGITALS_API_KEY=\nPHYGITALS_ENV=local\n", 0o644, None),
    ],
)
def test_a_dotenv_file_with_a_secret_that_others_can_read_is_warned_of(tmp_path, text, mode, named):
    (env_file := tmp_path / ".env").write_text(text)
    env_file.chmod(mode)
    warning = exposed_secrets(env_file)
    if named is None:
        assert warning is None
    else:
        assert warning is not None
        assert str(env_file) in warning and named in warning and "chmod o=" in warning
        assert KEY not in warning and "hooks.example" not in warning
    assert exposed_secrets(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("PHYGITALS_ENV production\n", 1),
        (f"PHYGITALS_ENV=sandbox\n\n# the key\n=PHYGITALS_API_KEY {KEY}\n", 4),
        (f'PHYGITALS_API_KEY={KEY}\nPHYGITALS_ENV="production\n', 2),
    ],
)
def test_a_line_of_a_dotenv_file_that_cannot_be_read_is_refused_without_its_words(tmp_path, text, line):
    (env_file := tmp_path / ".env").write_text(text)
    with pytest.raises(SettingsError) as refused:
        Settings.load(env_file)
    assert str(refused.value) == f"{env_file}, line {line}, is not a setting: write NAME=value, and close each quote"


def test_a_name_in_a_dotenv_file_that_resembles_a_setting_is_warned_of(tmp_path):
    env_file = tmp_path / ".env"
    env_file.write_text(
        f"PHYGTALS_ENV=production\nexport PHYGITALS_APIKEY={KEY}\nPHYGITALS_NEW=1\nphygitals_env=local\n"
        "AWS_REGION=eu-central-1\nPOSTGRES_PASSWORD=x\n"
    )
    env_file.chmod(0o600)
    assert env_file_warnings(env_file) == [
        f"{env_file}: PHYGTALS_ENV is not a setting and has no effect; did you mean PHYGITALS_ENV?",
        f"{env_file}: PHYGITALS_APIKEY is not a setting and has no effect; did you mean PHYGITALS_API_KEY?",
        f"{env_file}: PHYGITALS_NEW is not a setting and has no effect",
    ]
    assert env_file_warnings(tmp_path / "none") == []


def test_each_environment_has_a_history_of_its_own(configure, tmp_path):
    roots = {}
    for environment in ("local", "production"):
        configure(env=environment)
        with recorded_runs() as instance:
            roots[environment] = Path(instance.root_directory)
            assert instance.get_runs_count() == 0
            instance.create_run_for_job(defs.resolve_job_def("refresh"))
    assert roots == {name: tmp_path / "dagster_home" / name for name in roots}
    for environment in roots:
        configure(env=environment)
        with recorded_runs() as instance:
            assert instance.get_runs_count() == 1


def test_dagsters_own_command_records_in_the_history_of_the_environment(refreshed, tmp_path):
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "pipeline.definitions", "-j", "refresh"]
    subprocess.run(command, check=True, capture_output=True, cwd=PROJECT_ROOT, timeout=200)
    with recorded_runs() as instance:
        assert instance.root_directory == str(tmp_path / "dagster_home" / "production")
        (run,) = instance.get_runs()
        assert run.is_success
        # What the step writes to its output is kept beside the history.
        assert (Path(instance.root_directory) / "storage" / run.run_id).is_dir()
    assert not (tmp_path / "dagster_home" / "local").exists()
    assert not (tmp_path / "dagster_home" / "history").exists()


@pytest.mark.parametrize(("closed", "optimize"), [("<&- >&- 2>&-", ""), (">&-", "2")])
def test_a_refresh_with_closed_streams_does_its_work(workspace, monkeypatch, closed, optimize):
    """One of them, too, where Python leaves out documentation strings."""
    monkeypatch.setenv("PYTHONOPTIMIZE", optimize)
    command = f"exec {sys.executable} -m pipeline.cli.main refresh {closed}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "<svg" in workspace.data.report.read_text()
    assert rows(workspace, "SELECT count(*) FROM purchases WHERE status <> 'pending'") == [(2,)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["query", "FROM range(3000)", "--limit", "0"],
        ["query", "FROM range(30000)", "--format", "csv"],
        ["query", "SELECT 1"],
        ["status"],
        ["--help"],
    ],
)
def test_whoever_stops_reading_early_gets_no_traceback(refreshed, arguments):
    reading, writing = os.pipe()
    os.close(reading)  # before anything is written: a reader that leaves later leaves the same behind, now and then
    command = [sys.executable, "-m", "pipeline.cli.main", *arguments]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_report_is_drawn_where_python_leaves_out_documentation_strings(refreshed, monkeypatch):
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    refreshed.data.report.unlink()
    assert phygitals("report").returncode == 0
    assert "<svg" in refreshed.data.report.read_text()


# A new session takes the terminal that its first process claims as its own: Ctrl-C there reaches all that it starts.
IN_ITS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "pipeline.cli.main", *sys.argv[1:]])
"""


def test_ctrl_c_in_a_terminal_is_answered_by_one_line(workspace, monkeypatch):
    """Unlike a signal to one process, it reaches every process that was started in the terminal."""
    monkeypatch.setenv("PHYGITALS_REQUESTS_PER_SECOND", "20")
    drop(workspace, "b.txt", "\n".join(f"s{i}" for i in range(400)))
    terminal, its_end = pty.openpty()
    command = [sys.executable, "-c", IN_ITS_TERMINAL, "refresh"]
    environment = {**os.environ, "TERM": "xterm"}
    process = subprocess.Popen(
        command, stdin=its_end, stdout=its_end, stderr=its_end, env=environment, start_new_session=True
    )
    os.close(its_end)
    written, is_pressed = b"", False
    with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
        while chunk := os.read(terminal, 65_536):
            written += chunk
            if not is_pressed and b"requests/s" in written:
                is_pressed = os.write(terminal, b"\x03") > 0
    os.close(terminal)
    assert process.wait(60) == 1
    told = written.decode(errors="replace")
    assert "Traceback" not in told and "KeyboardInterrupt" not in told
    assert "received answers are kept" in told.splitlines()[-1]


def test_no_name_steers_the_terminal(refreshed, configure, tmp_path):
    """The refresh ends at its first request, after it named what it read."""
    workspace = refreshed
    hostile = tmp_path / f"{STEERING}.csv"
    hostile.write_text(f"session_id,{STEERING}\nthree,1\n")
    refused = tmp_path / f"{STEERING}.xlsx"
    refused.write_text("x")
    shutil.copy(hostile, workspace.data.inbox)
    configure(api_key="another-key-that-is-refused")
    called = [
        phygitals("submit", str(hostile)),
        phygitals_here("submit", str(refused)),
        phygitals("--debug", "submit", str(refused)),
        phygitals_here("submit", f"{STEERING}.csv"),
        phygitals_here("refresh"),
        phygitals_here("status"),
        phygitals("query", f"SELECT 1 AS \"{STEERING}\", '{STEERING}' AS b"),
        phygitals_here("query", f'SELECT "{STEERING}"'),
        phygitals_here("trace", f"{STEERING}"),
        phygitals_here("query", "SELECT 1", "-o", str(tmp_path / STEERING / "a.csv")),
        phygitals_here(STEERING),
    ]
    for done in called:
        told = done.stdout + done.stderr
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", told), told
    assert sum(bool(re.search(r"\\(?:u001b|x1b)\[2J", done.stdout + done.stderr)) for done in called) >= 8


@pytest.mark.parametrize("command", [["status"], ["refresh"], ["query", "FROM pulls"], ["report"], ["submit", "a"]])
@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_data_directory_that_is_a_file_or_below_one_is_refused(configure, tmp_path, place, command):
    (tmp_path / "file").write_text("x")
    configure(data_dir=tmp_path / place)
    advice = "is a file, or below one: set PHYGITALS_DATA_DIR to a folder"
    assert_one_line_error(phygitals_here(*command), str(tmp_path / place), advice)
