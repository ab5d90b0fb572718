"""The folder: whole files or none, bounded space, nothing outside it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading

import pytest

from napt_lab.servers.files.conditions import Conditions, entity_tag
from napt_lab.servers.files.storage import TEMPORARY, Folder, Limits, Refused

NEW = Conditions()
REPLACE = Conditions.of("*", None)


@pytest.fixture
def path(tmp_path):
    return tmp_path


@pytest.fixture
def folder(path):
    return Folder(path, Limits(max_file=1000, max_total=2500, max_files=4, max_uploads=3))


def put(folder, name, content, conditions=NEW):
    with folder.upload(name) as upload:
        upload.write(content)
        return upload.commit(conditions)


def refused(status):
    return pytest.raises(Refused, check=lambda refusal: refusal.status == status)


def test_seen_only_when_complete(folder, path):
    with folder.upload("a") as upload:
        upload.write(b"half")
        assert folder.list() == []
        assert [entry.name for entry in path.iterdir()] == [upload.temporary]
        with refused(404):
            folder.open("a")
        stored = upload.commit(NEW)
    assert (path / "a").read_bytes() == b"half"
    assert stored.digest == hashlib.sha256(b"half").digest()
    assert [file.name for file in folder.list()] == ["a"]
    assert [entry.name for entry in path.iterdir()] == ["a"]


def test_an_upload_that_fails_leaves_nothing(folder, path):
    with pytest.raises(ZeroDivisionError), folder.upload("a") as upload:  # noqa: PT012
        upload.write(b"half")
        assert folder.used == 4
        raise ZeroDivisionError
    assert list(path.iterdir()) == []
    assert folder.used == 0


def test_what_a_crash_left_is_removed_at_the_next_start(path):
    (path / f"{TEMPORARY}0123").write_bytes(b"half")
    (path / "a").write_bytes(b"whole")
    folder = Folder(path, Limits(100, 100, 10, 1))
    assert [entry.name for entry in path.iterdir()] == ["a"]
    assert folder.used == 5


def test_two_servers_do_not_share_a_folder(folder, path):
    with pytest.raises(BlockingIOError):
        Folder(path, folder.limits)


def test_of_many_uploads_of_one_name_one_wins(folder, path):
    contents = [bytes([number]) * 100 for number in range(3)]
    results = []
    barrier = threading.Barrier(len(contents))

    def upload_one(content):
        with folder.upload("a") as upload:
            upload.write(content)
            barrier.wait(10)
            try:
                upload.commit(NEW)
                results.append(content)
            except Refused as refusal:
                results.append(refusal.status)

    threads = [threading.Thread(target=upload_one, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    winners = [result for result in results if isinstance(result, bytes)]
    assert len(winners) == 1
    assert results.count(409) == 2
    assert (path / "a").read_bytes() == winners[0]
    assert folder.used == 100


def test_a_name_taken_behind_our_back_is_not_overwritten(folder, path):
    with folder.upload("a") as upload:
        upload.write(b"ours")
        (path / "a").write_bytes(b"theirs")
        with refused(409):
            upload.commit(NEW)
    assert (path / "a").read_bytes() == b"theirs"


def test_replacing_the_version_that_was_seen(folder, path):
    first = put(folder, "a", b"one")
    seen = Conditions.of(entity_tag(first.digest), None)
    put(folder, "a", b"three", seen)
    assert (path / "a").read_bytes() == b"three"
    assert folder.used == 5
    with refused(412):
        put(folder, "a", b"four", seen)
    assert (path / "a").read_bytes() == b"three"
    assert len(list(path.iterdir())) == 1


def test_a_reader_keeps_the_version_it_opened(folder):
    put(folder, "a", b"old")
    file, _ = folder.open("a")
    with file:
        put(folder, "a", b"new", REPLACE)
        assert file.read() == b"old"


def test_one_file_too_large(folder, path):
    with folder.upload("a") as upload:
        upload.write(b"x" * 1000)
        with refused(413):
            upload.write(b"x")
    assert list(path.iterdir()) == []


def test_concurrent_uploads_cannot_exceed_the_total_together(folder):
    with folder.upload("a") as a, folder.upload("b") as b, folder.upload("c") as c:
        a.reserve(1000)
        b.reserve(1000)
        with refused(507):
            c.reserve(501)
        c.reserve(500)
        with refused(507):
            c.write(b"x" * 501)
        a.write(b"x" * 10)
        a.commit(NEW)  # gives back what it did not need
        c.write(b"x" * 501)
    assert folder.used == 10


def test_files_put_there_by_hand_count(folder, path):
    (path / "by hand").write_bytes(b"x" * 2400)
    with folder.upload("a") as upload:
        upload.reserve(100)
        with refused(507):
            upload.reserve(101)
    assert folder.used == 2400


def test_the_number_of_uploads_and_files_is_bounded(folder):
    with folder.upload("a"), folder.upload("b"), folder.upload("c"), refused(503):
        folder.upload("d").__enter__()
    for name in "abcd":
        put(folder, name, b"")
    with refused(507):
        put(folder, "e", b"")
    put(folder, "a", b"replaced", REPLACE)


def test_only_files_of_this_folder_are_served(folder, path, tmp_path_factory):
    secret = tmp_path_factory.mktemp("outside") / "secret"
    secret.write_bytes(b"secret")
    (path / "link").symlink_to(secret)
    (path / "folder").mkdir()
    os.mkfifo(path / "fifo")
    (path / ".hidden").write_bytes(b"hidden")
    (path / "file").write_bytes(b"file")
    assert [file.name for file in folder.list()] == ["file"]
    for name in ("link", "folder", "fifo"):
        with refused(404):
            folder.open(name)
        with refused(409):
            put(folder, name, b"x", REPLACE)
    assert secret.read_bytes() == b"secret"
    file, _ = folder.open("file")  # the control: an ordinary file opens
    file.close()


def test_a_file_from_elsewhere_is_hashed_once_until_it_changes(folder, path):
    (path / "a").write_bytes(b"one")

    async def digest():
        file, status = folder.open("a")
        with file:
            return await folder.digests.of(file, status)

    async def many():
        return await asyncio.gather(*(digest() for _ in range(5)))

    assert folder.list()[0].digest is None
    assert set(asyncio.run(many())) == {hashlib.sha256(b"one").digest()}
    assert folder.list()[0].digest == hashlib.sha256(b"one").digest()
    times = (path / "a").stat()
    (path / "a").write_bytes(b"two")
    os.utime(path / "a", ns=(times.st_atime_ns, times.st_mtime_ns))  # same size, same date
    assert folder.list()[0].digest is None
    assert asyncio.run(digest()) == hashlib.sha256(b"two").digest()


def test_the_memory_of_digests_is_bounded(folder):
    for number in range(50):
        put(folder, "a", b"%d" % number, REPLACE if number else NEW)
    assert len(folder.digests._known) <= 2 * folder.limits.max_files
