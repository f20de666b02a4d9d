"""Files that users put into a working copy of a lake in an object store: no run reads them, and none loses them."""

import pytest

from pipeline.cli.status import status_of
from pipeline.schema.packs import REFERENCE_PACKS
from pipeline.storage.bucket import Bucket
from tests.support.workspace import build, drop, lake_rows

PRICE = "pack_id,price_usd\npack-1,{}\n"


def packs(workspace, price):
    path = workspace.data.packs_file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PRICE.format(price))
    return path


def kept(workspace):
    """The contents of what was set aside, oldest first."""
    return [path.read_text() for path in sorted(workspace.data.packs_file.parent.glob("packs.csv.only-here-*"))]


def needs(workspace):
    return [need.message for need in status_of(workspace).needs_person]


@pytest.mark.parametrize("folder", ["inbox", "sellbacks"])
def test_a_file_that_was_copied_into_a_folder_of_the_working_copy_is_named_until_it_is_removed(
    folder, machines, lake_url
):
    workspace = machines.use("laptop", lake_url)
    path = workspace.data.root / folder / "sales.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("session_id\ns1\n")
    take_in = workspace.take_in if folder == "inbox" else workspace.take_in_sellbacks
    advice = f"not read, it is only on this machine: upload it to {lake_url}/{folder}/, then remove it here"
    assert take_in().lines == [f"{folder}/sales.csv: {advice}"]
    assert needs(workspace) == [f"{folder}/sales.csv: {advice}"]
    assert path.read_text() == "session_id\ns1\n"
    path.unlink()
    assert take_in().lines == [] and needs(workspace) == []


def test_a_submitted_file_is_not_only_here(machines, lake_url):
    workspace = machines.use("laptop", lake_url)
    workspace.data.push(drop(workspace, "sales.csv", "session_id\ns1\n"))
    assert "accepted" in workspace.take_in().lines[0] and needs(workspace) == []


def test_packs_in_the_working_copy_alone_are_set_aside_and_named(machines, lake_url):
    workspace = machines.use("laptop", lake_url)
    packs(workspace, 10)
    packs(workspace, 10).with_suffix(".csv.example").write_text("pack_id\n")
    assert workspace.take_in().lines[0].startswith("reference/packs.csv: not read, it is only on this machine")
    build(workspace, REFERENCE_PACKS)
    assert lake_rows(workspace, "SELECT count(*) FROM reference_packs") == [(0,)]
    assert kept(workspace) == [PRICE.format(10)]
    (need,) = needs(workspace)
    assert need.startswith("reference/packs.csv.only-here-")


def test_packs_that_were_changed_in_the_working_copy_are_set_aside_and_those_of_the_lake_are_read(machines, lake_url):
    workspace = machines.use("laptop", lake_url)
    bucket = Bucket(lake_url)
    bucket.write("reference/packs.csv", PRICE.format(10).encode())
    build(workspace, REFERENCE_PACKS)
    packs(workspace, 20)
    bucket.write("reference/packs.csv", PRICE.format(30).encode())
    workspace.data.storage.refresh()
    build(workspace, REFERENCE_PACKS)
    assert lake_rows(workspace, "SELECT price_usd FROM reference_packs") == [(30,)]
    assert kept(workspace) == [PRICE.format(20)]


def test_a_file_with_the_bytes_of_its_object_is_a_copy_of_it(machines, lake_url):
    workspace = machines.use("laptop", lake_url)
    packs(workspace, 10)
    Bucket(lake_url).write("reference/packs.csv", PRICE.format(10).encode())
    build(workspace, REFERENCE_PACKS)
    assert lake_rows(workspace, "SELECT price_usd FROM reference_packs") == [(10,)]
    assert kept(workspace) == [] and needs(workspace) == []
