"""What every implementation of `ObjectStorage` holds to."""

import os
import threading

import pytest

from pipeline.storage.errors import ConflictError
from pipeline.storage.local_folder import LocalFolder
from pipeline.storage.object_store import ObjectStore

KEY = "lake/pulls/2026-03-01.parquet"


@pytest.fixture(params=["folder", "object store"])
def storage(request, tmp_path):
    root = tmp_path / "pack_id=live %20 ü"
    if request.param == "folder":
        return LocalFolder(root)
    return ObjectStore(root, request.getfixturevalue("lake_url"))


def put(storage, content, key=KEY):
    target = storage.root / key
    target.parent.mkdir(parents=True, exist_ok=True)
    file = target.with_name(f".{target.name}.tmp")
    file.write_bytes(content)
    return storage.put(file, key)


def content(storage, key=KEY):
    storage.fetch([key])
    return (storage.root / key).read_bytes()


def identity(entry):
    """An entry without its time, which is by the clock of the storage."""
    return entry[:3]


def test_an_object_is_what_was_put(storage):
    entry = put(storage, b"rows")
    assert content(storage) == b"rows"
    assert (entry.key, entry.size) == (KEY, 4)
    assert identity(storage.find(KEY)) == identity(entry)
    assert [identity(found) for found in storage.listing("lake/pulls")] == [identity(entry)]


def test_a_replacement_has_another_etag_though_it_has_the_same_size(storage):
    first, second = put(storage, b"rows"), put(storage, b"ROWS")
    assert first.etag != second.etag
    assert content(storage) == b"ROWS"
    assert [entry.etag for entry in storage.listing("lake")] == [second.etag]


def test_an_unchanged_object_keeps_its_etag(storage):
    entry = put(storage, b"rows")
    content(storage)
    assert identity(storage.find(KEY)) == identity(entry)


def test_a_listing_is_of_a_folder_and_all_below_by_key(storage):
    keys = ["raw/a/2026-03-02/b.parquet", "raw/a/2026-03-01/c.parquet", "raw/a.parquet", "raw/ab/x.parquet"]
    for key in keys:
        put(storage, b"x", key)
    assert [entry.key for entry in storage.listing("raw/a")] == [keys[1], keys[0]]
    assert [entry.key for entry in storage.listing("raw")] == sorted(keys)


def test_where_nothing_was_put_nothing_is_found(storage):
    assert storage.listing("lake/pulls") == []
    assert storage.find(KEY) is None
    storage.fetch([KEY])
    assert not (storage.root / KEY).exists()


def test_an_unfinished_file_is_no_object(storage):
    put(storage, b"x")
    (storage.root / KEY).with_name(".2026-03-02.parquet.1.tmp").write_bytes(b"half")
    assert [entry.key for entry in storage.listing("lake")] == [KEY]


def test_a_deleted_object_is_gone_and_may_be_deleted_again(storage):
    put(storage, b"x")
    for _ in range(2):
        storage.delete(KEY)
        assert storage.find(KEY) is None
        assert storage.listing("lake") == []


def test_a_reader_sees_the_former_object_or_the_new_one(storage):
    pieces = [bytes([letter]) * 1_000_000 for letter in b"ab"]
    put(storage, pieces[0])
    is_over = threading.Event()
    seen = set()

    def read():
        while not is_over.is_set():
            seen.add(content(storage))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(1, 51):
        put(storage, pieces[turn % 2])
    is_over.set()
    reader.join()
    assert seen <= set(pieces)


def test_an_object_that_cannot_be_put_leaves_the_former_one(storage, monkeypatch):
    put(storage, b"former")

    def refuse(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full_disk:
        # A folder fails before it replaces the object, and a store before it has received the whole one.
        full_disk.setattr(os, "fsync", refuse)
        full_disk.setattr("pipeline.storage.object_store.Bucket.upload", lambda *_: refuse(0))
        with pytest.raises(OSError, match="No space"):
            put(storage, b"new")
    assert content(storage) == b"former"


def test_a_small_object_is_swapped_only_by_whoever_read_it_last(storage):
    first = storage.compare_and_swap("staging/manifest.json", b"1", None)
    assert storage.read("staging/manifest.json") == (b"1", first)
    second = storage.compare_and_swap("staging/manifest.json", b"2", first)
    for etag in (first, None):
        with pytest.raises(ConflictError):
            storage.compare_and_swap("staging/manifest.json", b"3", etag)
    assert storage.read("staging/manifest.json") == (b"2", second)


def test_of_an_absent_small_object_there_is_nothing_to_read_or_to_swap(storage):
    assert storage.read("environment.json") is None
    with pytest.raises(ConflictError):
        storage.compare_and_swap("environment.json", b"x", "an etag")


def test_a_file_that_was_written_in_place_is_an_object_once_it_is_pushed(storage):
    storage.root.mkdir()
    (storage.root / "phygitals.duckdb").write_bytes(b"tables")
    storage.push("phygitals.duckdb", versions=3)
    assert storage.find("phygitals.duckdb").size == 6
    assert content(storage, "phygitals.duckdb") == b"tables"
