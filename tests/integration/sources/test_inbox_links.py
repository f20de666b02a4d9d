"""Links and names in the inbox and its neighbour: nothing from outside is read, and what cannot be read is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from pipeline.sources.listing import UnavailableFileError, listing, open_file
from pipeline.steps import Workspace
from tests.support.workspace import build_all, drop

LEADS_OUT = "it is a link to a place outside the folder {} and is not followed; put the file itself there"


@pytest.fixture
def workspace():
    return Workspace.open()


@pytest.fixture
def secret(tmp_path):
    """A file outside of all folders."""
    path = tmp_path / "outside" / ".env"
    path.parent.mkdir()
    path.write_text("PHYGITALS_API_KEY=secret\n")
    return path


def test_links_that_lead_out_of_the_folder_are_refused_and_named_by_every_run(folder, workspace, secret):
    folder.drop(workspace, "good.csv", folder.csv("good"))
    path, leads_out = folder.path(workspace), LEADS_OUT.format(folder.kind.folder)
    (path / "file.csv").symlink_to(secret)
    (path / "folder").symlink_to(secret.parent)
    (path / "up.csv").symlink_to("../environment.json")
    (path / "sub").mkdir()
    (path / "sub" / "chain.csv").symlink_to(path / "file.csv")
    first, second = folder.take_in(workspace), folder.take_in(workspace)
    assert first.left == dict.fromkeys(["file.csv", "folder", "up.csv", "sub/chain.csv"], leads_out)
    assert f"file.csv: not read, {leads_out}" in second.lines
    assert [file.source_file for file in first.files] == ["good.csv"]
    assert folder.ids(workspace) == {"good"} and folder.reasons(workspace) == []


def test_a_folder_beside_it_whose_name_begins_alike_is_outside(folder, workspace):
    beside = workspace.data.root / f"{folder.kind.folder}-old"
    beside.mkdir()
    (beside / "a.csv").write_text(folder.csv("x"))
    (folder.path(workspace) / "a.csv").symlink_to(beside / "a.csv")
    assert folder.take_in(workspace).left == {"a.csv": LEADS_OUT.format(folder.kind.folder)}


def test_the_folders_do_not_lead_into_one_another(workspace):
    (workspace.data.sellbacks).symlink_to(workspace.data.inbox)
    path = drop(workspace, "a.csv", "session_id\nx\n")
    assert workspace.take_in().total("accepted") == 1
    workspace.data.sellbacks.unlink()
    workspace.data.sellbacks.mkdir()
    (workspace.data.sellbacks / "a.csv").symlink_to(path)
    assert workspace.take_in_sellbacks().left == {"a.csv": LEADS_OUT.format("sellbacks")}


def test_links_inside_of_the_folder_are_followed_once(folder, workspace):
    folder.drop(workspace, ".staging/batch/a.csv", folder.csv("one"))
    folder.drop(workspace, "seen/b.csv", folder.csv("two"))
    path = folder.path(workspace)
    (path / "batch").symlink_to(path / ".staging" / "batch")
    (path / "again").symlink_to("seen")
    (path / "loop").symlink_to(".")
    (path / "seen" / "loop").symlink_to(path / "batch" / "..")
    (path / "link.csv").symlink_to(".staging/batch/a.csv")
    assert [file.name for file in listing(path).files] == ["batch/a.csv", "link.csv", "seen/b.csv"]
    report = folder.take_in(workspace)
    assert {file.source_file: file.accepted for file in report.files} == {"batch/a.csv": 1, "seen/b.csv": 1}
    assert (report.already_known, report.left) == (["link.csv"], {})


def test_a_folder_that_is_a_link_itself_is_read(folder, workspace, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    folder.path(workspace).rename(elsewhere)
    folder.kind.path(workspace.data).symlink_to(elsewhere)
    folder.drop(workspace, "sub/a.csv", folder.csv("one"))
    assert folder.take_in(workspace).total("accepted") == 1


def test_a_link_that_leads_nowhere_is_named_until_it_leads_somewhere(folder, workspace):
    (folder.path(workspace) / "a.csv").symlink_to("later/a.csv")
    assert list(folder.take_in(workspace).left) == ["a.csv"]
    folder.drop(workspace, "later/a.csv", folder.csv("one"))
    assert folder.take_in(workspace).total("accepted") == 1


def test_a_folder_that_leads_nowhere_is_named_and_one_that_is_not_there_is_empty(workspace):
    assert workspace.take_in_sellbacks().lines == []
    workspace.data.sellbacks.symlink_to("unmounted")
    assert list(workspace.take_in_sellbacks().left) == ["."]


@pytest.mark.parametrize("swapped", ["sub/a.csv", "sub"])
def test_a_link_that_takes_a_files_place_after_the_listing_is_not_followed(swapped, folder, workspace, secret):
    path = folder.drop(workspace, "sub/a.csv", folder.csv("one"))
    (file,) = listing(folder.path(workspace)).files
    path.unlink()
    if swapped == "sub":
        path.parent.rmdir()
        (secret.parent / "a.csv").write_text("outside\n")
        path.parent.symlink_to(secret.parent)
    else:
        path.symlink_to(secret)
    with pytest.raises(UnavailableFileError, match=f"outside the folder {folder.kind.folder}"):
        open_file(folder.path(workspace), file)


def test_a_pipe_is_named_and_not_waited_for(folder, workspace):
    os.mkfifo(folder.path(workspace) / "a.csv")
    (line,) = folder.take_in(workspace).lines
    assert line.startswith("a.csv: not read, it is not a regular file; ")


def test_a_pipe_that_takes_a_files_place_is_not_waited_for(folder, workspace):
    path = folder.drop(workspace, "a.csv", folder.csv("one"))
    (file,) = listing(folder.path(workspace)).files
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UnavailableFileError, match="no longer a regular file"):
        open_file(folder.path(workspace), file)


TAKE_IN = """
from pipeline.steps import Workspace
print(*Workspace.open().take_in().lines, *Workspace.open().take_in_sellbacks().lines, sep="\\n")
"""


def test_what_this_user_may_not_read_is_named_and_tried_again(folder, workspace):
    command = [sys.executable, "-c", TAKE_IN]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may read everything, and nothing here takes that right from it")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    folder.drop(workspace, "good.csv", folder.csv("good"))
    closed = [
        folder.drop(workspace, "closed.csv", folder.csv("one")),
        folder.drop(workspace, "folder/b.csv", folder.csv("two")).parent,
    ]
    for path in closed:
        path.chmod(0)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for path in closed:
        path.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert "good.csv: 1 rows read = 1 accepted" in done.stdout
    assert "closed.csv: not read, it cannot be read now: Permission denied; the next run tries again" in done.stdout
    assert "folder: not read, the folder cannot be opened: Permission denied" in done.stdout
    assert folder.take_in(workspace).total("accepted") == 2


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
