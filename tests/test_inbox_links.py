"""Links and names in the inbox: nothing from outside of it is read, and what cannot be read is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from pipeline.submissions.listing import UnavailableFileError, listing, open_file
from pipeline.workspace import Workspace
from tests.conftest import build_all, drop
from tests.test_submissions import only_file, taken_in

LEADS_OUT = "it is a link that leads out of the folder inbox, which is not followed; put the file itself there"


@pytest.fixture
def workspace():
    return Workspace.open()


@pytest.fixture
def secret(tmp_path):
    """A file outside of the inbox."""
    path = tmp_path / "outside" / ".env"
    path.parent.mkdir()
    path.write_text("PHYGITALS_API_KEY=secret\n")
    return path


def names(workspace: Workspace) -> list[str]:
    return [file.name for file in listing(workspace.data.inbox).files]


def test_links_that_lead_out_of_the_inbox_are_refused_and_named_by_every_run(workspace, secret):
    drop(workspace, "good.txt", "good\n")
    inbox = workspace.data.inbox
    (inbox / "file.txt").symlink_to(secret)
    (inbox / "folder").symlink_to(secret.parent)
    (inbox / "up.txt").symlink_to("../environment.json")
    (inbox / "sub").mkdir()
    (inbox / "sub" / "chain.txt").symlink_to(inbox / "file.txt")
    first, second = workspace.take_in(), workspace.take_in()
    assert first.left == dict.fromkeys(["file.txt", "folder", "up.txt", "sub/chain.txt"], LEADS_OUT)
    assert f"file.txt: not read, {LEADS_OUT}" in second.lines
    assert [file.source_file for file in first.files] == ["good.txt"]
    assert [row["session_id"] for row in taken_in(workspace)] == ["good"]


def test_a_folder_beside_the_inbox_whose_name_begins_alike_is_outside(workspace):
    beside = workspace.data.root / "inbox-old"
    beside.mkdir()
    (beside / "a.txt").write_text("x\n")
    (workspace.data.inbox / "a.txt").symlink_to(beside / "a.txt")
    assert workspace.take_in().left == {"a.txt": LEADS_OUT}


def test_links_inside_of_the_inbox_are_followed_once(workspace):
    drop(workspace, ".staging/batch/a.txt", "one\n")
    drop(workspace, "seen/b.txt", "two\n")
    inbox = workspace.data.inbox
    (inbox / "batch").symlink_to(inbox / ".staging" / "batch")
    (inbox / "again").symlink_to("seen")
    (inbox / "loop").symlink_to(".")
    (inbox / "seen" / "loop").symlink_to(inbox / "batch" / "..")
    (inbox / "link.txt").symlink_to(".staging/batch/a.txt")
    assert names(workspace) == ["batch/a.txt", "link.txt", "seen/b.txt"]
    report = workspace.take_in()
    assert {file.source_file: file.accepted for file in report.files} == {"batch/a.txt": 1, "seen/b.txt": 1}
    assert (report.already_known, report.left) == (["link.txt"], {})


def test_an_inbox_that_is_a_link_itself_is_read(workspace, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    workspace.data.inbox.rename(elsewhere)
    workspace.data.inbox.symlink_to(elsewhere)
    drop(workspace, "sub/a.txt", "one\n")
    assert only_file(workspace).accepted == 1


def test_a_link_that_leads_nowhere_is_named_until_it_leads_somewhere(workspace):
    (workspace.data.inbox / "a.txt").symlink_to("later/a.txt")
    assert list(workspace.take_in().left) == ["a.txt"]
    drop(workspace, "later/a.txt", "one\n")
    assert workspace.take_in().total("accepted") == 1


@pytest.mark.parametrize("swapped", ["sub/a.txt", "sub"])
def test_a_link_that_takes_a_files_place_after_the_listing_is_not_followed(swapped, workspace, secret):
    path = drop(workspace, "sub/a.txt", "one\n")
    (file,) = listing(workspace.data.inbox).files
    path.unlink()
    if swapped == "sub":
        path.parent.rmdir()
        (secret.parent / "a.txt").write_text("outside\n")
        path.parent.symlink_to(secret.parent)
    else:
        path.symlink_to(secret)
    with pytest.raises(UnavailableFileError, match="leads out of the folder inbox"):
        open_file(workspace.data.inbox, file)


def test_a_pipe_that_takes_a_files_place_is_not_waited_for(workspace):
    path = drop(workspace, "a.txt", "one\n")
    (file,) = listing(workspace.data.inbox).files
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UnavailableFileError, match="no regular file any more"):
        open_file(workspace.data.inbox, file)
    assert workspace.take_in().lines == []


TAKE_IN = """
from pipeline.workspace import Workspace
print(*Workspace.open().take_in().lines, sep="\\n")
"""


def test_what_this_user_may_not_read_is_named_and_tried_again(workspace):
    command = [sys.executable, "-c", TAKE_IN]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may read everything, and nothing here takes that right from it")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    drop(workspace, "good.txt", "good\n")
    closed = [drop(workspace, "closed.txt", "one\n"), drop(workspace, "folder/b.txt", "two\n").parent]
    for path in closed:
        path.chmod(0)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for path in closed:
        path.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert "good.txt: 1 rows read = 1 accepted" in done.stdout
    assert "closed.txt: not read, it cannot be read now: Permission denied; the next run tries again" in done.stdout
    assert "folder: not read, the folder cannot be opened: Permission denied" in done.stdout
    assert workspace.take_in().total("accepted") == 2


IGNORED = (
    *(".hidden.txt", "~$orders.csv", "a.txt.tmp", "a.csv.PART", "a.partial", "a.csv.filepart", "a.download"),
    *("a.CrDownload", "a.csv:Zone.Identifier", ".folder/a.txt", "a.part/b.txt"),
)


@pytest.mark.parametrize("name", IGNORED)
def test_hidden_and_unfinished_files_are_ignored(name, workspace):
    drop(workspace, name, "one\n")
    assert workspace.take_in().lines == []


@pytest.mark.parametrize("suffix", ["x" * 200, "[a]", "*", "a b", "=", "\udcff", "\n", "\u00fc"])
def test_a_suffix_that_no_object_could_be_named_after_refuses_its_file_alone(suffix, workspace):
    drop(workspace, f"bad.{suffix}", "x\n")
    drop(workspace, "good.txt", "good\n")
    report = workspace.take_in()
    assert [bool(file.refused_because) for file in report.files] == [True, False]
    assert workspace.take_in().lines == []
    build_all(workspace)


def test_names_that_only_resemble_unfinished_ones_count(workspace):
    for number, name in enumerate(("part.txt", "a.tmp.csv", "download.txt", "a~$.txt", "a b.TXT")):
        drop(workspace, name, f"session_id\n{number}\n")
    assert workspace.take_in().total("accepted") == 5
